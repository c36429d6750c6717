"""A prepared folder is there whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.programs import criteo

ROOT = Path(__file__).parents[3]


def test_appears_at_the_end(tmp_path):
    with PreparedFolder(tmp_path / "deep" / "out", overwrite=False) as folder:
        (folder / "schema.json").write_text("{}")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["out", "schema.json"]


def test_an_error_leaves_nothing(tmp_path):
    def interrupted_run() -> None:
        with PreparedFolder(tmp_path / "out", overwrite=False) as folder:
            (folder / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_an_error_unless_overwritten(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "schema.json").write_text("old")
    with pytest.raises(ValueError, match="exists; give another folder, or --overwrite"):
        PreparedFolder(out, overwrite=False)
    with PreparedFolder(out, overwrite=True) as folder:
        (folder / "schema.json").write_text("new")
        assert (out / "schema.json").read_text() == "old"
    assert (out / "schema.json").read_text() == "new"


def test_overwrite_spares_other_folders(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"has no schema\.json"):
        PreparedFolder(tmp_path / "home", overwrite=True)


def test_two_runs_at_once(tmp_path):
    with PreparedFolder(tmp_path / "out", overwrite=False) as folder:
        (folder / "mine").write_text("")
        with (
            pytest.raises(ValueError, match="another run is writing"),
            PreparedFolder(tmp_path / "out", overwrite=False),
        ):
            pass
        assert (folder / "mine").exists()


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    command = [sys.executable, "data_scripts/criteo.py", "--sample", "200000", "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 50
    while not (partial / "scratch").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert partial.exists()
    assert not (partial / "schema.json").exists()
    criteo.main(["--sample", "100", "--out", str(out)])
    assert not partial.exists()
    assert sorted(path.name for path in out.iterdir()) == [
        *("counts", "raw", "schema.json", "test", "train", "val", "vocabulary"),
    ]

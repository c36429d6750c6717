"""A prepared folder is there whole or not at all."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.prepare.files.prepared_files import write_schema
from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.files.run_program import run_program
from recsys.prepare.files.streams import print_anywhere
from recsys.prepare.programs import criteo, script

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


def made(out: Path, word: str, overwrite: bool = False) -> None:
    with PreparedFolder(out, overwrite) as folder:
        (folder / "word").write_text(word)
        write_schema(folder, {})


def test_an_existing_folder_is_an_error_unless_overwritten(tmp_path):
    out = tmp_path / "out"
    made(out, "old")
    with pytest.raises(ValueError, match="exists; give another folder, or --overwrite"):
        PreparedFolder(out, overwrite=False)
    made(out, "new", overwrite=True)
    assert (out / "word").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("strange", ["letter.txt", "deep/raw.csv"])
def test_overwrite_spares_what_no_preparation_has_written(tmp_path, strange):
    made(tmp_path / "out", "old")
    (tmp_path / "out" / strange).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / strange).write_text("dear")
    with pytest.raises(ValueError, match=f"holds '{strange}', which no preparation has written"):
        PreparedFolder(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("content", [None, "{}", '{"files": 3}', "old"])
def test_overwrite_spares_folders_that_nothing_proves_ours(tmp_path, content):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    if content is not None:
        (tmp_path / "home" / "schema.json").write_text(content)
    with pytest.raises(ValueError, match=r"has no schema\.json that lists its files"):
        PreparedFolder(tmp_path / "home", overwrite=True)


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_appears_during_a_run_is_kept_and_so_is_the_work(tmp_path, overwrite):
    def run() -> None:
        with PreparedFolder(tmp_path / "out", overwrite) as folder:
            (folder / "word").write_text("new")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "letter.txt").write_text("dear")

    with pytest.raises(ValueError, match="what was made is in '") as error:
        run()
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"
    kept = Path(str(error.value).split("what was made is in '")[1].split("'")[0])
    assert (kept / "word").read_text() == "new"


def test_a_run_killed_between_two_renames_is_put_right_by_the_next(tmp_path):
    made(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / f".out.{'0' * 32}.old")
    (tmp_path / f".out.{'1' * 32}.partial").mkdir()
    (tmp_path / "out.partial").mkdir()  # somebody else's
    with pytest.raises(ValueError, match="exists; give another folder"):
        made(tmp_path / "out", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.partial"]
    assert (tmp_path / "out" / "word").read_text() == "old"


def test_ctrl_c_and_the_systems_refusals(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    def refused() -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    with pytest.raises(SystemExit) as end:
        run_program(interrupted)
    assert end.value.code == 130
    with pytest.raises(SystemExit, match=r"error: '/secret': Permission denied\.") as end:
        run_program(refused)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("error: '/secret': Permission denied.\n")


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
    out = tmp_path / "out"
    command = [sys.executable, "data_scripts/criteo.py", "--sample", "200000", "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 50
    while not list(tmp_path.glob(".out.*.partial/scratch")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    (partial,) = tmp_path.glob(".out.*.partial")
    assert not (partial / "schema.json").exists()
    criteo.main(["--sample", "100", "--out", str(out)])
    assert not partial.exists()
    assert sorted(path.name for path in out.iterdir()) == [
        *("counts", "raw", "schema.json", "test", "train", "val", "vocabulary"),
    ]


def test_ctrl_c_while_a_program_is_imported(monkeypatch):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "import_module", interrupted)
    with pytest.raises(SystemExit) as end:
        script.run("clicks")
    assert end.value.code == 130


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed(monkeypatch, encoding):
    """Of a terminal that lacks its characters, and of a file name that is no text."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_anywhere()
    print("é☃\udcff", flush=True)
    assert b"udcff" in stream.buffer.getvalue()

"""Files of a report are there whole, all of them, or those of before are."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys.prepare.clicks.config_file import check_config
from recsys.prepare.files.run_program import run_program
from recsys.prepare.files.whole_files import whole_files, whole_folder, write_new_text, write_whole_text


def names(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def written(folder: Path, **files: str) -> None:
    with whole_files(folder) as place:
        for name, text in files.items():
            (place / name).write_text(text)


def test_files_get_their_names_together(tmp_path):
    folder = tmp_path / "deep" / "report"
    written(folder, page="old", numbers="old")
    with whole_files(folder) as place:
        (place / "page").write_text("new")
        assert (folder / "page").read_text() == "old"
    assert names(folder) == {"page": "new", "numbers": "old"}


def test_a_full_disk_leaves_what_was_there(tmp_path):
    written(tmp_path, page="old", numbers="old")

    def fill() -> None:
        with whole_files(tmp_path) as place:
            (place / "page").write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device") as caught:
        fill()
    assert caught.value.filename == str(tmp_path)
    assert names(tmp_path) == {"page": "old", "numbers": "old"}


def test_what_a_killed_run_left_goes_and_that_of_a_live_one_stays(tmp_path):
    left = tmp_path / f".partial-{'0' * 32}"
    left.mkdir()
    with whole_files(tmp_path) as place:
        written(tmp_path, page="of another run")
        assert place.is_dir()
        assert not left.exists()
    assert names(tmp_path) == {"page": "of another run"}


def test_a_folder_appears_in_the_end_with_the_rights_of_its_user(tmp_path):
    left, others = tmp_path / f"served.partial-{'0' * 32}", tmp_path / "served.partial-2"
    left.mkdir()
    others.mkdir()
    mask = os.umask(0o077)
    try:
        with whole_folder(tmp_path / "served") as place:
            (place / "program").write_text("made")
            assert not (tmp_path / "served").exists()
    finally:
        os.umask(mask)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served", others.name]
    assert (tmp_path / "served").stat().st_mode & 0o777 == 0o700


def test_a_text_is_written_through_a_link_with_the_rights_it_had(tmp_path):
    (tmp_path / "page.md").write_text("old")
    (tmp_path / "page.md").chmod(0o600)
    (tmp_path / "link.md").symlink_to(tmp_path / "page.md")
    write_whole_text(tmp_path / "link.md", "new")
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "page.md").read_text() == "new"
    assert (tmp_path / "page.md").stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_written_to():
    program = "from pathlib import Path; from recsys.prepare.files.whole_files import write_whole_text as write"
    command = [sys.executable, "-c", f"{program}; write(Path('/dev/stdout'), 'said')"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "said"


def test_a_new_file_that_is_refused_does_not_claim_its_name(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            write_new_text(tmp_path / "mine.yaml", "a: 1\n" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.filename == str(tmp_path / "mine.yaml")
    check_config(tmp_path / "mine.yaml")
    write_new_text(tmp_path / "mine.yaml", "a: 1\n")
    with pytest.raises(FileExistsError):
        write_new_text(tmp_path / "mine.yaml", "a: 2\n")


def test_a_full_disk_is_one_sentence_whoever_says_it(capsys):
    def full() -> None:
        raise pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")

    with pytest.raises(SystemExit) as ended:
        run_program(full)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: No space left on device.\n"

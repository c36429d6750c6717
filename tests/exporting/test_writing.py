"""The folder of a program: whole or not at all, with the data's vocabulary, and never with another model's scores."""

from pathlib import Path

import pytest
import torch

from recsys.exporting.clicks import ExportableClicks
from recsys.exporting.formats import TorchProgram
from recsys.exporting.writing import SIGNATURE, free_folder, largest_difference, write
from tests.exporting.test_clicks import drawn, of_the_data


class Off(TorchProgram):
    """Writes scores that are a little too high."""

    def read(self, path, interface):
        run = super().read(path, interface)
        return lambda arguments: tuple(output + 0.001 for output in run(arguments))


def test_the_vocabulary_goes_with_it(prepared, tmp_path):
    task = of_the_data(prepared)
    (tmp_path / "data" / "vocabulary").mkdir(parents=True)
    for name in ("C1", "user", "group"):
        (tmp_path / "data" / "vocabulary" / f"{name}.parquet").write_bytes(b"values")
    out = tmp_path / "out"
    out.mkdir()
    num_samples, difference = write(
        ExportableClicks(task), TorchProgram(), out, [drawn(task, 5), drawn(task, 7)], {}, tmp_path / "data"
    )
    assert (num_samples, difference < 1e-5) == (12, True)
    # Who the users are is of no use to the program.
    assert [path.name for path in (out / "vocabulary").iterdir()] == ["C1.parquet"]
    assert (out / "vocabulary" / "C1.parquet").read_bytes() == b"values"
    assert (out / SIGNATURE).is_file()


def test_a_program_that_scores_otherwise_is_not_written(prepared, tmp_path):
    task = of_the_data(prepared)
    with pytest.raises(ValueError, match=r"the program's logit differs from the checkpoint's by up to 0\.001"):
        write(ExportableClicks(task), Off(), tmp_path / "out", [drawn(task, 5)], {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_samples_nothing_is_compared(prepared):
    exportable = ExportableClicks(of_the_data(prepared))
    assert largest_difference(exportable, lambda arguments: (torch.zeros(0),), []) == (0, 0.0)


def test_a_checkpoint_without_finite_scores_is_not_written(prepared):
    task = of_the_data(prepared)
    with torch.no_grad():
        next(iter(task.model.parameters())).fill_(torch.nan)
    exportable = ExportableClicks(task)
    with pytest.raises(ValueError, match="the checkpoint itself gives a logit that is no finite number"):
        largest_difference(exportable, lambda arguments: exportable.program(**arguments), [drawn(task, 5)])


def test_a_folder_is_taken_as_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nothing")
    assert free_folder(Path("new/")) == tmp_path / "new"
    assert free_folder(Path("empty")) == tmp_path / "empty"
    for name in ("link", "dangling"):
        with pytest.raises(ValueError, match=f"out '{name}' is a link"):
            free_folder(Path(name))


def test_the_folder_that_one_is_in(prepared, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(ExportableClicks(of_the_data(prepared)), TorchProgram(), free_folder(Path(".")), [], {}, tmp_path)
    assert (tmp_path / "here" / SIGNATURE).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]

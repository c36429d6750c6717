"""The folder of a program: whole or not at all, with the data's vocabulary, and never with another model's scores."""

import pytest
import torch

from recsys.exporting.clicks import ExportableClicks
from recsys.exporting.formats import TorchProgram
from recsys.exporting.writing import SIGNATURE, largest_difference, write
from tests.exporting.test_clicks import drawn, of_the_data


class Off(TorchProgram):
    """Writes scores that are a little too high."""

    def read(self, path, interface):
        run = super().read(path, interface)
        return lambda arguments: tuple(output + 0.001 for output in run(arguments))


def test_the_vocabulary_goes_with_it(prepared, tmp_path):
    task = of_the_data(prepared)
    (tmp_path / "data" / "vocabulary").mkdir(parents=True)
    (tmp_path / "data" / "vocabulary" / "C1.parquet").write_bytes(b"values")
    out = tmp_path / "out"
    out.mkdir()
    num_samples, difference = write(
        ExportableClicks(task), TorchProgram(), out, [drawn(task, 5), drawn(task, 7)], {}, tmp_path / "data"
    )
    assert (num_samples, difference < 1e-5) == (12, True)
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

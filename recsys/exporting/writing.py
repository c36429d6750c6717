"""A folder with a program and all that its caller has to know; it appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from recsys.argument_types import typed
from recsys.exporting.exportable import Exportable
from recsys.exporting.formats import Format, Run
from recsys.prepare.files.whole_files import whole_folder

FORMAT_VERSION = 1
SIGNATURE, VOCABULARY = "signature.json", "vocabulary"
_ABSOLUTE, _RELATIVE = 1e-4, 1e-4
"""What float32 may lose by adding up in another order, generously."""


def largest_difference(exportable: Exportable, run: Run, batches: Iterable[Any]) -> tuple[int, float]:
    """How many samples were computed by program and task, and how far apart the first outputs are at most.

    Raises:
        ValueError: if they differ by more than float32 does, or the task's are not finite.
    """
    num_samples, largest = 0, 0.0
    for batch in batches:
        found, wanted = run(exportable.arguments(batch)), exportable.expected(batch)
        num_samples += len(batch)
        for name, ours, own in zip(exportable.interface.outputs, found, wanted, strict=True):
            if not own.isfinite().all():
                raise ValueError(f"the checkpoint itself gives a {name} that is no finite number; nothing is written.")
            difference = float((ours - own).abs().max()) if own.numel() else 0.0
            if not torch.allclose(ours, own, _RELATIVE, _ABSOLUTE):
                raise ValueError(
                    f"the program's {name} differs from the checkpoint's by up to {difference:.3g}, more than float32 "
                    "does; nothing is written."
                )
            largest = max(largest, difference)
    return num_samples, largest


@typed
def free_folder(out: Path) -> Path:
    """A folder to write, by its full name.

    Raises:
        ValueError: if something is there that must not be replaced.
    """
    if out.is_symlink():
        raise ValueError(f"out '{out}' is a link, through which nothing is written; name the folder itself.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out '{out}' exists and is no empty folder; give another or remove it.")
    return Path(os.path.abspath(out))


@typed
def write(
    exportable: Exportable, format: Format, out: Path, batches: Iterable[Any], facts: dict[str, Any], data: Path
) -> tuple[int, float]:
    """Write OUT/model.*, OUT/signature.json and OUT/vocabulary, the data's of what it reads.

    Args:
        exportable: what is written.
        format: how.
        out: a folder that does not exist, or is empty.
        batches: that the written program is compared with the task on.
        facts: that the signature has besides.
        data: folder of the data.

    Returns: see `largest_difference`.

    Raises:
        ValueError: see `largest_difference`.
    """
    with whole_folder(out) as place:
        format.write(exportable.program, exportable.interface, place / format.file)
        checked = largest_difference(exportable, format.read(place / format.file, exportable.interface), batches)
        signature = {
            "format_version": FORMAT_VERSION,
            "program": format.file,
            **facts,
            "inputs": exportable.described(),
            "outputs": list(exportable.interface.outputs),
            "tensors": list(exportable.interface.inputs),
            "compared": {"samples": checked[0], "largest_difference": checked[1]},
            "torch": torch.__version__,
        }
        (place / SIGNATURE).write_text(json.dumps(signature, indent=1) + "\n", encoding="utf-8")
        _copy_vocabularies(exportable, data / VOCABULARY, place / VOCABULARY)
    return checked


def _copy_vocabularies(exportable: Exportable, source: Path, target: Path) -> None:
    """Of what the program reads alone: the names of users are nobody else's."""
    files = [source / f"{name}.parquet" for name in exportable.vocabularies]
    for file in filter(Path.is_file, files):
        target.mkdir(exist_ok=True)
        shutil.copyfile(file, target / file.name)

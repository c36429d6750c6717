"""What a folder of stages was begun with: one program at a time goes on, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recsys.checkpoints.data_differences import without_remap
from recsys.checkpoints.reading import read
from recsys.checkpoints.settings import NUM_PROCESSES, SETTINGS, changed_settings, in_words
from recsys.compression.evolution import Evolution, Population
from recsys.compression.stage_run import LAST, MODEL, is_done, write_json
from recsys.prepare.files.claim import claim
from recsys.tables.budget import parse_bytes, parse_fraction
from recsys.tasks import TableTask


def claim_folder(out: Path) -> int:
    """The descriptor of a lock on the folder of all stages, which ends with the program, however that does.

    Raises:
        ValueError: if another program holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    return claim(out / ".lock", f"another run is compressing into '{out}'; wait for it, or give another OUT.")


def refuse_other_search(search: Path, task: TableTask) -> None:
    """A search that was begun has its data and settings: with others it would be no search of either.

    Args:
        search: folder of the stage.
        task: built from the config that is to go on.

    Raises:
        ValueError: naming what differs.
    """
    begun = search / (MODEL if is_done(search) else LAST)
    if not begun.is_file():
        return
    content = read(begun)
    with without_remap("give another OUT"):
        task.check_fits(content)
    before = dict(content.get(SETTINGS) or {})
    before.pop(NUM_PROCESSES, None)
    changed = changed_settings(before, task.settings or {}) if before else []
    if changed:
        did = "done" if is_done(search) else "begun"
        raise ValueError(
            f"'{search}' was {did} with other settings: {in_words(changed)}; give another OUT, or those settings."
        )


def refuse_other_selection(folder: Path, asked: Mapping[str, object]) -> None:
    """A folder has one selection; what the first one is asked for is written down.

    Args:
        folder: of the stage.
        asked: what decides it, in plain values.

    Raises:
        ValueError: with both.
    """
    path = folder / "asked.json"
    if not path.is_file():
        write_json(path, asked)
        return
    before = json.loads(path.read_text())
    if _meant(before) != _meant(asked):
        raise ValueError(
            f"'{folder}' was begun with {_in_words(before)}, and this asks for {_in_words(asked)}; give another OUT, "
            "or copy its search/ there to keep that."
        )


def _meant(asked: Mapping[str, object]) -> dict[str, object]:
    """What is asked for, however its numbers are written: 30% is 0.3."""
    parsers: dict[str, Callable[[Any], object]] = {"budget_bytes": parse_bytes, "budget_fraction": parse_fraction}
    return {name: parsers[name](value) if name in parsers else value for name, value in _given(asked).items()}


def _in_words(asked: Mapping[str, object]) -> str:
    options = {"precision": "row_precision"}
    return " ".join(f"--{options.get(name, name)} {value}" for name, value in _given(asked).items())


def _given(asked: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in asked.items() if value is not None}


def refuse_other_generations(folder: Path, population: Population, evolution: Evolution) -> None:
    """A selection that is done has ended its search for widths; one that is not may go on as long as is asked.

    Raises:
        ValueError: if it took another number of generations.
    """
    if population.best and population.num_done != evolution.num_iterations:
        raise ValueError(
            f"'{folder}' was done with --generations {population.num_done}, and this asks for "
            f"{evolution.num_iterations}; give another OUT, or copy its search/ there to keep that."
        )

"""From a config of searching tables to a compact model: search, selection, training again from the initial values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from recsys.checkpoints.file import write
from recsys.checkpoints.reading import read
from recsys.compression.begun import refuse_other_generations, refuse_other_search, refuse_other_selection
from recsys.compression.config_file import write_config
from recsys.compression.evolution import Candidate, Evolution, Population, evolve
from recsys.compression.fitness import Fitness
from recsys.compression.model import checkpoint_of, collection_of
from recsys.compression.probe import first_batches
from recsys.compression.quality import SHOWN, measured_splits, quality_of, scores_in_bf16
from recsys.compression.selection import (
    WIDTH_STEP,
    Searched,
    require_one_currency,
    require_possible,
    selected_entries,
    selected_rows,
    widths_of,
)
from recsys.compression.served import best_in_validation, write_served
from recsys.compression.stage_run import MODEL, check_run, fit, is_done, write_json
from recsys.compression.trained import Compressed
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.tables import AutoDimTable, SearchedTable, Table, TableCollection
from recsys.tables.budget import Bytes, Fraction, bytes_of_fraction, parse_bytes
from recsys.tables.compact import RowPrecision
from recsys.tables.vectors import vectors_of_all

STAGES = ("search", "selection", "retrain")
CONFIG, EVOLUTION = "config.yaml", "evolution.json"
Start = Literal["initial", "searched"]


@dataclass(frozen=True)
class Stages:
    """The stages of a folder, each in a folder of its name.

    Args:
        command: -c CONFIG and overrides, of a CTRTask or NextItemTask with searching tables.
        out: the folder.
        budget_bytes: of all tables of the compact model, as served.
        budget_fraction: the same, as a fraction of the full tables' bytes.
        evolution: settings of the search for widths, where tables select rows.
        seed: of that search.
        start: what training again begins with: the values that the search began with, as the papers have it, or those
            that it ended with.
        width_step: columns by which the widths differ that are searched among, where tables select rows.
        precision: that the compact model's rows are served in, where tables select rows; they train in float32.
        say: called with lines of progress.
    """

    command: Sequence[str]
    out: Path
    budget_bytes: Bytes | None = None
    budget_fraction: Fraction | None = None
    evolution: Evolution = field(default_factory=Evolution)
    seed: int = 0
    start: Start = "initial"
    width_step: int = WIDTH_STEP
    precision: RowPrecision = "float32"
    say: Callable[[str], None] = print

    def check(self) -> None:
        """Build everything once, before anything is trained.

        Raises:
            ValueError: on another task than CTRTask or NextItemTask, a precision that rounds its tables, tables that
                do not search, a budget that is none, data without rows to search by, a trainer that leaves no
                checkpoint, or a folder whose search was begun with other data or settings.
        """
        cli = RecsysCLI.launch(self.command, run=False)
        task, num_processes = cli.model, cli.trainer.world_size
        if num_processes > 1:
            raise ValueError(f"stages run in one process, got {num_processes}; give --trainer.devices=1.")
        quality_of(task)
        scores_in_bf16(cli.trainer)
        check_run(cli.trainer)
        if self.width_step < 1:
            raise ValueError(f"--width_step must be at least 1, got {self.width_step}.")
        made = task.table_settings.make_tables().values()
        if not any(isinstance(table, SearchedTable) for table in made):
            kinds = ", ".join(sorted({type(table).__name__ for table in made}))
            raise ValueError(
                f"no table of the config searches ({kinds}); add -c configs/tables/optembed.yaml or pep.yaml, or give "
                "a checkpoint to compress."
            )
        require_one_currency(table for table in made if isinstance(table, SearchedTable))
        if self.start == "searched" and any(isinstance(table, AutoDimTable) for table in made):
            raise ValueError("--start searched: what AutoDimTable has learned is no table of one width; leave it out.")
        self._refuse_precision(made)
        selects_rows = any(isinstance(table, SearchedTable) and table.selects == "rows" for table in made)
        measured = measured_splits(cli.datamodule)
        if selects_rows and "val" not in measured:
            raise ValueError(
                f"widths are searched by the val split, of which '{cli.datamodule.schema.path}' has no rows; give data "
                "with rows for val, or tables that search no widths, such as -c configs/tables/pep.yaml."
            )
        budget_bytes = self._budget(sum(table.logical_bytes() for table in made))
        require_possible(made, task.embedding_dim, budget_bytes)
        refuse_other_search(self.out / "search", task)

    def run(self, stages: Sequence[str] = STAGES) -> None:
        """Run stages in order; those that are done are passed over.

        Raises:
            ValueError: if one before them is not done, or the folder was begun with another budget.
        """
        for stage in stages:
            getattr(self, stage)()

    def search(self) -> None:
        """Train the model with searching tables."""
        folder = self._folder("search")
        self.say(f"search: {'done before' if is_done(folder) else 'training with searching tables'}")
        fit(self.command, folder)

    def selection(self) -> None:
        """Choose what is kept, and give it its initial values."""
        folder = self._folder("selection")
        if (folder / MODEL).is_file():
            refuse_other_selection(folder, self._asked)
            refuse_other_generations(folder, _read_population(folder / EVOLUTION), self.evolution)
            self.say("selection: done before")
            return
        self._require("search")
        refuse_other_selection(folder, self._asked)
        cli = self._searched()
        task, collection = cli.model, cli.model.collection
        full = sum(collection.table(f.table).logical_bytes() for f in collection.features)
        budget_bytes = self._budget(full)
        names = dict.fromkeys(feature.table for feature in collection.features)
        require_possible(map(collection.table, names), task.embedding_dim, budget_bytes)
        searched = Searched.of(collection, self.precision)
        offset: float | None = 0.0
        if searched.narrow:
            widths = searched.most_probable_widths(budget_bytes) or {}
        else:
            widths = self._widths(cli, searched, budget_bytes, folder) if searched.rows else {}
            offset = searched.offset(widths, task.embedding_dim, budget_bytes)
        assert offset is not None, "the budget is possible"
        begun = cli
        if self.start == "initial":
            begun = RecsysCLI.launch(self._seeded, run=False)
            begun.model.configure_model()
        compressed = self._selected(begun.model.collection, searched, widths, offset)
        begun.model.collection = collection_of(begun.model, compressed)
        kept = {name: int((own > offset).sum()) for name, own in [*searched.rows.items(), *searched.entries.items()]}
        write_json(folder / "selected.json", {"widths": widths, "kept": kept, "offset": offset, "bytes": budget_bytes})
        write_config(begun, folder / MODEL, folder / CONFIG)
        write(folder / MODEL, checkpoint_of(begun.model, {}))

    def retrain(self) -> None:
        """Train what was selected from the values that it was given, and publish it.

        What a search has learned is published as it was selected where training on validates worse.
        """
        self._require("selection")
        # Rows that were chosen as codes would not fit as numbers.
        refuse_other_selection(self.out / "selection", self._asked)
        if (self.out / CONFIG).is_file():
            self.say(f"retrain: done before; remove '{self.out / CONFIG}' and '{self.out / 'retrain'}' to do it again")
            return
        self.say(f"retrain: training what was selected, from its {self.start} values")
        folder, selected = self._folder("retrain"), self.out / "selection"
        # What this command asks for and no search depends on: epochs, and the folder that the data are in now.
        write_config(RecsysCLI.launch(self._seeded, run=False), selected / MODEL, selected / CONFIG)
        command = ["-c", str(selected / CONFIG), *self._seed_words]
        fit(command, folder, read(selected / MODEL)["state_dict"])
        trained = [folder / MODEL]
        if self.start == "searched":
            # What the search has learned may be worth more than what training on makes of it.
            trained.append(selected / MODEL)
        write_served(command, best_in_validation(command, trained, self.precision), self.out / MODEL, self.precision)
        write_config(RecsysCLI.launch(command, run=False), self.out / MODEL, self.out / CONFIG)

    @property
    def _asked(self) -> dict[str, object]:
        """What decides a selection, and what is made of it."""
        asked: dict[str, object] = {"budget_bytes": self.budget_bytes, "budget_fraction": self.budget_fraction}
        asked["seed"] = self.seed
        asked |= {} if self.start == "initial" else {"start": self.start}
        asked |= {} if self.width_step == WIDTH_STEP else {"width_step": self.width_step}
        return asked | ({} if self.precision == "float32" else {"precision": self.precision})

    @cached_property
    def _seed_words(self) -> list[str]:
        """The seed that the search drew its initial values from."""
        seed = json.loads((self.out / "search" / "done.json").read_text())["seed"]
        return [f"--seed_everything={seed}"]

    @property
    def _seeded(self) -> list[str]:
        return [*self.command, *self._seed_words]

    def _searched(self) -> RecsysCLI:
        """The searched model, all its rows decayed, and its data."""
        cli = RecsysCLI.launch(self._seeded, run=False)
        task = cli.model
        task.configure_model()
        content = read(self.out / "search" / MODEL)
        task.check_fits(content)
        task.load_state_dict(content["state_dict"])
        tables = [task.collection.table(feature.table) for feature in task.collection.features]
        for table in {table.name: table for table in tables if isinstance(table, SearchedTable)}.values():
            table.on_epoch_end(task.collection.lookup)
        task.eval()
        return cli

    def _widths(self, cli: RecsysCLI, searched: Searched, budget_bytes: int, folder: Path) -> dict[str, int]:
        """The widths with which the searched model validates best within the budget."""
        task, data = cli.model, cli.datamodule
        data.setup("validate")
        quality = quality_of(task)
        loader: Iterable[Any] = data.eval_dataloader("val")
        batches = first_batches(loader, quality.fitness_rows, task.device)
        choices = widths_of(task.embedding_dim, self.width_step)
        fitness = Fitness(task, searched, batches, choices, budget_bytes, scores_in_bf16(cli.trainer))
        population, path = _read_population(folder / EVOLUTION), folder / EVOLUTION

        def after_each(population: Population) -> None:
            _write_population(path, population)
            self.say(
                f"selection: generation {population.num_done} of {self.evolution.num_iterations}, "
                f"{len(population.fitness)} candidates, best val {SHOWN[quality.metrics[0]]} {population.best[-1]:.5f}"
            )

        num_tables = len(searched.rows)
        uniform = [(place,) * num_tables for place in range(len(choices))]
        winner = evolve(
            [len(choices)] * num_tables, fitness, self.evolution, population, self.seed, uniform, after_each
        )
        return fitness.widths(winner)

    def _selected(
        self, collection: TableCollection, searched: Searched, widths: dict[str, int], offset: float
    ) -> dict[str, Compressed]:
        """What is kept of each table of a collection, before the search or after it; the others as they are there."""
        found: dict[str, Compressed] = {}
        for name in dict.fromkeys(feature.table for feature in collection.features):
            table = collection.table(name)
            initial = {each.name: collection.lookup.weight(each.name).detach() for each in table.physical_tables()}
            if self.start == "searched" and isinstance(table, SearchedTable):
                initial[name] = vectors_of_all(table, collection.lookup)
            if name in searched.rows:
                found[name] = selected_rows(name, initial[name], searched.rows[name] > offset, widths[name])
            elif name in searched.entries:
                found[name] = selected_entries(name, initial[name], searched.entries[name] > offset)
            elif isinstance(table, AutoDimTable):
                found[name] = table.narrowed(initial[name], widths[name])
            else:
                found[name] = (table, initial)
        return found

    def _folder(self, stage: str) -> Path:
        folder = self.out / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _require(self, stage: str) -> None:
        done = self.out / stage / ("done.json" if stage == "search" else MODEL)
        if not done.is_file():
            raise ValueError(f"stage '{stage}' is not done in '{self.out}'; run it first, or all without --stage.")

    def _refuse_precision(self, tables: Iterable[Table]) -> None:
        """Only rows are served in fewer bits."""
        for table in tables:
            if self.precision != "float32" and isinstance(table, SearchedTable) and table.selects != "rows":
                raise ValueError(
                    f"--row_precision {self.precision} is for tables that select rows, and {type(table).__name__} "
                    f"'{table.name}' selects {table.selects}; leave it out, or take OptEmbedTable."
                )

    def _budget(self, full_bytes: int) -> int:
        if self.budget_bytes is not None:
            return parse_bytes(self.budget_bytes)
        assert self.budget_fraction is not None
        return bytes_of_fraction(self.budget_fraction, full_bytes)


def _read_population(path: Path) -> Population:
    if not path.is_file():
        return Population()
    content = json.loads(path.read_text())
    fitness: dict[Candidate, float] = {tuple(places): value for places, value in content["fitness"]}
    return Population(fitness, content["num_done"], content["best"])


def _write_population(path: Path, population: Population) -> None:
    pairs = [[list(places), value] for places, value in population.fitness.items()]
    write_json(path, {"num_done": population.num_done, "best": population.best, "fitness": pairs})

"""What a comparison file says: configs, axes of variations, seeds, the metric.

    name: MovieLens-1M table sizes
    configs: [../movielens.yaml]
    data: data/ml-1m
    metric: auc
    seeds: [0, 1, 2]
    axes:
      table:
        FullTable: {model: {init_args: {tables: {default: FullTable}}}}
        HashTable: {model: {init_args: {tables: {default: {class_path: HashTable, init_args: {budget_fraction: 0.5}}}}}}

Every axis maps labels to overrides, each like one more -c; a contender is one label of every axis.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys import __version__
from recsys.argument_types import check_fields
from recsys.prepare.files.fingerprints import of_folder

Override = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A number from a paper, shown beside ours."""

    value: float
    source: str


@dataclass(frozen=True)
class SearchRange:
    """Values that a search tries for one setting, evenly or by factors."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Found:
    """The best settings of a search.

    Args:
        settings: by key path.
        val: what they reached on validation.
        num_trials: settings tried.
        num_failed: trials without a result.
    """

    settings: Mapping[str, float]
    val: float
    num_trials: int
    num_failed: int

    def __post_init__(self) -> None:
        """Refuse fields of another type."""
        check_fields(self)


@dataclass(frozen=True)
class Contender:
    """A name and the overrides that make it, in order; and what a search found, where they are from one.

    Args:
        name: its labels, one of every axis.
        overrides: one of every axis, in order.
        found: by a search.
        labels: by axis.
    """

    name: str
    overrides: tuple[Override, ...]
    found: Found | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NearBest:
    """Further seeds for the contenders that are near the best on validation: where a difference could be chance.

    Args:
        axis: each of its labels has a best contender; "" where one is the best of all.
        within: largest distance from it, in the metric, over the comparison's own seeds.
        seeds: further ones.
    """

    axis: str
    within: float
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """One contender with one seed: everything that decides its result.

    Args:
        contender: its name.
        seed: of initial values and of the order of the data.
        configs: contents of the config files, in order.
        overrides: of the contender, in order.
        data: prepared folder.
        fingerprint: of the data's files.
        metric: what is compared.
        mode: "max" or "min".
        version: of this package. In a checkout the number stays as it is between releases: after a change of the code
            that matters, name another store.
    """

    contender: str
    seed: int
    configs: tuple[Override, ...]
    overrides: tuple[Override, ...]
    data: str
    fingerprint: str
    metric: str
    mode: str
    version: str = __version__

    @property
    def key(self) -> str:
        """Names the run's folder; two runs that must give the same result have one key, whatever they are called."""
        decisive = [self.seed, self.configs, self.overrides, self.fingerprint, self.metric, self.mode, self.version]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Comparison:
    """A comparison file.

    Args:
        name: title of the report.
        configs: contents of the config files, in order.
        data: prepared folder.
        metric: name after "val/" and "test/".
        mode: "max" or "min".
        seeds: each contender runs with all of them.
        contenders: one label of every axis each.
        published: numbers from papers, by contender.
        search: ranges that `recsys compare search` tries, by key path.
        left_out: why, by the name that a contender left out would have.
        near_best: further seeds for some.
    """

    name: str
    configs: tuple[Override, ...]
    data: Path
    metric: str
    mode: str
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]
    published: Mapping[str, Published] = field(default_factory=dict)
    search: Mapping[str, SearchRange] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    near_best: NearBest | None = None

    def runs(self) -> list[Run]:
        """Every contender with every seed; all contenders' first seeds come first."""
        return [self.run(contender, seed) for seed in self.seeds for contender in self.contenders]

    def run(self, contender: Contender, seed: int, extra: Sequence[Override] = ()) -> Run:
        """One run, with further overrides.

        Raises:
            ValueError: if the data folder has no schema.json.
        """
        overrides = (*contender.overrides, *extra)
        data, mark = str(self.data), fingerprint(self.data)
        return Run(contender.name, seed, self.configs, overrides, data, mark, self.metric, self.mode)


def fingerprint(data: Path) -> str:
    """Identity of the prepared data: of all files that a run can read.

    Raises:
        ValueError: if there is none.
    """
    schema = data / "schema.json"
    if not schema.is_file():
        raise ValueError(f"data folder '{data}' has no schema.json; make it with recsys prepare.")
    return of_folder(data)

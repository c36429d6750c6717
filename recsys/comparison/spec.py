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
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

import yaml

Override = Mapping[str, Any]

_KEYS = ("name", "configs", "data", "metric", "mode", "seeds", "axes", "published", "search")


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
class Contender:
    """A name and the overrides that make it, in order."""

    name: str
    overrides: tuple[Override, ...]


@dataclass(frozen=True)
class Run:
    """One contender with one seed: everything that decides its result.

    Args:
        contender: its name.
        seed: of initial values and of the order of the data.
        configs: contents of the config files, in order.
        overrides: of the contender, in order.
        data: prepared folder.
        fingerprint: of the data's schema.json.
        metric: what is compared.
        mode: "max" or "min".
    """

    contender: str
    seed: int
    configs: tuple[Override, ...]
    overrides: tuple[Override, ...]
    data: str
    fingerprint: str
    metric: str
    mode: str

    @property
    def key(self) -> str:
        """Names the run's folder; two runs that must give the same result have one key, whatever they are called."""
        decisive = [self.seed, self.configs, self.overrides, self.fingerprint, self.metric, self.mode]
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


def read_comparison(path: Path, data: Path | None = None) -> Comparison:
    """Read and check a comparison file; config paths are relative to it.

    Args:
        path: of the file.
        data: prepared folder instead of the file's.

    Raises:
        ValueError: naming the key, the value and what was meant.
    """
    content = _mapping(path)
    for key in content:
        if key not in _KEYS:
            close = get_close_matches(str(key), _KEYS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"{path}: '{key}' is not a key here{hint} (known: {', '.join(_KEYS)})")
    for key in ("configs", "axes"):
        if not content.get(key):
            raise ValueError(f"{path}: '{key}' is missing.")
    if data is None and not content.get("data"):
        raise ValueError(f"{path}: 'data' is missing, the prepared folder; or give --data FOLDER.")
    mode = content.get("mode", "max")
    if mode not in ("max", "min"):
        raise ValueError(f"{path}: mode must be max or min, got {mode!r}.")
    seeds = content.get("seeds", [0, 1, 2])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ValueError(f"{path}: seeds must be whole numbers from 0, as in [0, 1, 2], got {seeds!r}.")
    contenders = _contenders(path, content["axes"])
    return Comparison(
        name=str(content.get("name", path.stem)),
        configs=tuple(_mapping(path.parent / name) for name in content["configs"]),
        data=data or Path(content["data"]),
        metric=str(content.get("metric", "auc")),
        mode=mode,
        seeds=tuple(seeds),
        contenders=contenders,
        published=_published(path, content.get("published", {}), [contender.name for contender in contenders]),
        search={name: _search_range(path, name, entry) for name, entry in content.get("search", {}).items()},
    )


def fingerprint(data: Path) -> str:
    """Identity of the prepared data: of its schema.json, which has the checksum of the raw input.

    Raises:
        ValueError: if there is none.
    """
    schema = data / "schema.json"
    if not schema.is_file():
        raise ValueError(f"data folder '{data}' has no schema.json; prepare it with a script of data_scripts/.")
    return hashlib.sha256(schema.read_bytes()).hexdigest()[:16]


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist.")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, got {type(content).__name__}.")
    return content


def _contenders(path: Path, axes: Any) -> tuple[Contender, ...]:
    if not isinstance(axes, dict) or not all(isinstance(labels, dict) and labels for labels in axes.values()):
        raise ValueError(f"{path}: axes must map axes to labels to overrides.")
    for axis, labels in axes.items():
        for label, override in labels.items():
            if not isinstance(override or {}, dict):
                raise ValueError(f"{path}: axes.{axis}.{label} must be an override like one more -c, got {override!r}.")
    names = product(*(labels.items() for labels in axes.values()))
    return tuple(
        Contender(", ".join(str(label) for label, _ in choice), tuple(override or {} for _, override in choice))
        for choice in names
    )


def _published(path: Path, entries: Mapping[str, Any], names: Sequence[str]) -> dict[str, Published]:
    found = {}
    for name, entry in entries.items():
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"{path}: published names '{name}', which is no contender{hint}")
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise ValueError(f"{path}: published.{name} must have value and source, got {entry!r}.")
        found[name] = Published(float(entry["value"]), str(entry["source"]))
    return found


def _search_range(path: Path, name: str, entry: Any) -> SearchRange:
    if not isinstance(entry, dict) or not {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        raise ValueError(f"{path}: search.{name} must have low, high and maybe log, got {entry!r}.")
    found = SearchRange(float(entry["low"]), float(entry["high"]), bool(entry.get("log", False)))
    if not found.low < found.high or (found.log and found.low <= 0):
        raise ValueError(f"{path}: search.{name} must have low < high, and low > 0 with log, got {entry!r}.")
    return found

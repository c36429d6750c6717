"""Reads and checks comparison files; what they say is in `recsys.comparison.spec`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, cast

from recsys.comparison.spec import Comparison, Contender, NearBest, Published, SearchRange
from recsys.configuration.own_tables import take_from_beside
from recsys.configuration.yaml_files import read_mapping
from recsys.evaluation.directions import Direction, direction

_KEYS = ("name", "configs", "data", "metric", "mode", "seeds", "near_best", "axes", "left_out", "published", "search")

_OF_EVERY_RUN = {
    "seed_everything": "seeds",
    "data.init_args.seed": "seeds",
    "data.init_args.path": "data, the prepared folder",
    "trainer.default_root_dir": "--store",
}
"""Settings of a run that no contender has its own of, and where they come from."""


def read_comparison(path: Path, data: Path | None = None) -> Comparison:
    """Read and check a comparison file; config paths are relative to it.

    Args:
        path: of the file.
        data: prepared folder instead of the file's.

    Raises:
        ValueError: naming the key, the value and what was meant.
    """
    content = read_mapping(path)
    for key in content:
        if key not in _KEYS:
            raise ValueError(f"{path}: '{key}' is not a key here{_hint(key, _KEYS)} (known: {', '.join(_KEYS)})")
    for key in ("configs", "axes"):
        if not content.get(key):
            raise ValueError(f"{path}: '{key}' is missing.")
    if data is None and not content.get("data"):
        raise ValueError(f"{path}: 'data' is missing, the prepared folder; or give --data FOLDER.")
    metric = _text(path, "metric", content.get("metric") or "auc")
    left_out = _entries(path, content, "left_out")
    contenders = _contenders(path, content["axes"], left_out)
    seeds = _seeds(path, "seeds", content.get("seeds", [0, 1, 2]))
    return Comparison(
        name=_text(path, "name", content.get("name") or path.stem),
        configs=tuple(_config(path.parent / name) for name in _configs(path, content["configs"])),
        data=data or Path(_text(path, "data", content["data"])),
        metric=metric,
        mode=_mode(path, content.get("mode"), metric),
        seeds=seeds,
        contenders=contenders,
        published=_published(path, _entries(path, content, "published"), [each.name for each in contenders]),
        search={
            _text(path, "search: a setting", name): _search_range(path, name, entry)
            for name, entry in _entries(path, content, "search").items()
        },
        left_out={name: str(reason) for name, reason in left_out.items()},
        near_best=_near_best(path, _entries(path, content, "near_best"), list(content["axes"]), seeds),
    )


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{path}: {key} must be text, got {value!r}; quote a number that is meant as a name.")
    return value


def _mode(path: Path, mode: Any, metric: str) -> Direction:
    """Which way the metric is better, as the file says or as is known of it."""
    better = direction(metric)
    if mode is None:
        return better or "max"
    if mode not in ("max", "min"):
        raise ValueError(f"{path}: mode must be max or min, got {mode!r}.")
    if better is not None and mode != better:
        raise ValueError(
            f"{path}: mode: {mode} takes the worst {metric} for the best; write mode: {better}, or leave it out."
        )
    return cast("Direction", mode)


def _config(path: Path) -> dict[str, Any]:
    content = read_mapping(path)
    take_from_beside(content, path.parent)
    return content


def _configs(path: Path, names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: configs must be a list of files, as in [base.yaml], got {names!r}.")
    return names


def _seeds(path: Path, key: str, seeds: Any) -> tuple[int, ...]:
    # A bool is an int in Python, but `true` is no seed.
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"{path}: {key} must be whole numbers in [0, 2**32), as in [0, 1, 2], got {seeds!r}.")
    twice = [seed for place, seed in enumerate(seeds) if seed in seeds[:place]]
    if twice:
        raise ValueError(f"{path}: {key} must differ, got {twice[0]} twice in {seeds!r}.")
    return tuple(seeds)


def _near_best(path: Path, entry: Mapping[str, Any], axes: Sequence[str], first: Sequence[int]) -> NearBest | None:
    if not entry:
        return None
    if not {"within", "seeds"} <= set(entry) <= {"axis", "within", "seeds"}:
        raise ValueError(f"{path}: near_best must have within and seeds, and maybe axis, got {dict(entry)!r}.")
    axis, within = entry.get("axis", ""), _number(path, "near_best.within", entry["within"])
    if axis and axis not in axes:
        raise ValueError(f"{path}: near_best.axis must be an axis, got {axis!r}{_hint(axis, axes)}")
    if within < 0:
        raise ValueError(f"{path}: near_best.within must be at least 0, got {within}.")
    seeds = _seeds(path, "near_best.seeds", entry["seeds"])
    both = sorted({*seeds} & {*first})
    if both:
        raise ValueError(f"{path}: near_best.seeds are further ones, but seed {both[0]} is among seeds.")
    return NearBest(str(axis), within, seeds)


def _entries(path: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key that may be missing or empty."""
    found = content.get(key) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {key} must map names to entries, got {found!r}.")
    return found


def _check_override(where: str, override: Mapping[str, Any]) -> None:
    """Refuse what every run has from elsewhere: a label that says otherwise would be the name of what did not act."""
    for key, source in _OF_EVERY_RUN.items():
        found: Any = override
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            raise ValueError(f"{where} gives {key}, which all runs have from {source}; leave it out.")


def _contenders(path: Path, axes: Any, left_out: Mapping[str, Any]) -> tuple[Contender, ...]:
    if not isinstance(axes, dict) or not all(isinstance(labels, dict) and labels for labels in axes.values()):
        raise ValueError(f"{path}: axes must map axes to labels to overrides.")
    for axis, labels in axes.items():
        for label, override in labels.items():
            if not isinstance(override, dict | None):
                raise ValueError(f"{path}: axes.{axis}.{label} must be an override like one more -c, got {override!r}.")
            _check_override(f"{path}: axes.{axis}.{label}", override or {})
    made = [
        Contender(
            ", ".join(str(label) for label, _ in choice),
            tuple(override or {} for _, override in choice),
            labels={axis: str(label) for axis, (label, _) in zip(axes, choice, strict=True)},
        )
        for choice in product(*(labels.items() for labels in axes.values()))
    ]
    names = [contender.name for contender in made]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"{path}: two contenders are called '{twice}'; rename a label of one.")
    for name, reason in left_out.items():
        if name not in names:
            raise ValueError(f"{path}: left_out names '{name}', which is no contender{_hint(name, names)}")
        if not isinstance(reason, str) or not reason:
            raise ValueError(f"{path}: left_out.{name} must be the reason, in words, got {reason!r}.")
    if len(left_out) == len(made):
        raise ValueError(f"{path}: left_out leaves no contender.")
    return tuple(contender for contender in made if contender.name not in left_out)


def _published(path: Path, entries: Mapping[str, Any], names: Sequence[str]) -> dict[str, Published]:
    found = {}
    for name, entry in entries.items():
        if name not in names:
            raise ValueError(f"{path}: published names '{name}', which is no contender{_hint(name, names)}")
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise ValueError(f"{path}: published.{name} must have value and source, got {entry!r}.")
        value = _number(path, f"published.{name}.value", entry["value"])
        found[name] = Published(value, _text(path, f"published.{name}.source", entry["source"]))
    return found


def _search_range(path: Path, name: str, entry: Any) -> SearchRange:
    if not isinstance(entry, dict) or not {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        raise ValueError(f"{path}: search.{name} must have low, high and maybe log, got {entry!r}.")
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"{path}: search.{name}.log must be true or false, got {log!r}.")
    low, high = (_number(path, f"search.{name}.{end}", entry[end]) for end in ("low", "high"))
    if not low < high or (log and low <= 0):
        raise ValueError(f"{path}: search.{name} must have low < high, and low > 0 with log, got {entry!r}.")
    return SearchRange(low, high, log)


def _number(path: Path, key: str, value: Any) -> float:
    """A finite number; also one like 1e-5, which YAML takes for a word because it lacks the dot."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{path}: {key} must be a number, got {value!r}.")
    return found


def _hint(word: object, known: Sequence[str]) -> str:
    close = get_close_matches(str(word), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""

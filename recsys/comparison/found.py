"""What a search has tried and found, kept in the store: one file for each contender."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recsys.argument_types import check_types
from recsys.comparison.spec import Comparison, Contender, Found, Run
from recsys.comparison.store import RunStore, read_entries, write_whole


class SearchFile:
    """The trials of one contender, `searches/KEY.json` in the store.

    The key follows from what decides the result of a trial, and from the ranges; not from the contender's name.

    Args:
        comparison: with the ranges.
        contender: as the comparison's file has it.
        store: of the runs.
    """

    def __init__(self, comparison: Comparison, contender: Contender, store: RunStore) -> None:
        self._comparison, self._contender = comparison, contender
        ranges = {name: asdict(values) for name, values in comparison.search.items()}
        decisive = json.dumps([comparison.run(contender, comparison.seeds[0]).key, ranges], sort_keys=True)
        key = hashlib.sha256(decisive.encode()).hexdigest()[:16]
        self.path: Path = store.folder / "searches" / f"{key}.json"

    def trials(self) -> list[dict[str, float]]:
        """Settings of all trials begun so far, by key path."""
        return list(self._content()["trials"])

    def found(self) -> Found | None:
        """The best settings; None if the search has not ended."""
        best = self._content()["found"]
        return None if best is None else Found(**best)

    def write(self, trials: Sequence[Mapping[str, float]], found: Found | None = None) -> None:
        """Keep the trials and, once all are done, the best settings."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        best = None if found is None else asdict(found)
        write_whole(self.path, {"contender": self._contender.name, "trials": list(trials), "found": best})

    def run(self, settings: Mapping[str, float]) -> Run:
        """The run that tries settings, with the comparison's first seed."""
        return self._comparison.run(self._contender, self._comparison.seeds[0], [nested(settings)])

    def _content(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {"trials": [], "found": None}
        try:
            content = read_entries(self.path, _Searched)
            check_types("searched", _Searched, content)
            _ = content["found"] is None or Found(**content["found"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"'{self.path}': {error} Remove it, and the search is done again.") from error
        return content


@dataclass(frozen=True)
class _Searched:
    """What the file of a search holds."""

    contender: str
    trials: list[Mapping[str, float]]
    found: Mapping[str, Any] | None


def with_found_settings(comparison: Comparison, store: RunStore) -> Comparison | None:
    """The comparison with the settings that a search found; None unless it has ended for every contender.

    Contenders with searched settings are not shown beside others without: that would compare the searches.
    """
    if not comparison.search:
        return None
    tuned = []
    for contender in comparison.contenders:
        found = SearchFile(comparison, contender, store).found()
        if found is None:
            return None
        tuned.append(replace(contender, overrides=(*contender.overrides, nested(found.settings)), found=found))
    return replace(comparison, contenders=tuple(tuned))


def nested(settings: Mapping[str, float]) -> dict[str, Any]:
    """Key paths as nested keys.

    >>> nested({"a.b": 1.0, "a.c": 2.0})
    {'a': {'b': 1.0, 'c': 2.0}}
    """
    found: dict[str, Any] = {}
    for path, value in settings.items():
        *parents, last = path.split(".")
        inner = found
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return found

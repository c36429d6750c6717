"""Options such as --categorical "C*" user and --dense price:log as a ClickSpec of the columns that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from recsys.prepare.clicks.click_spec import ClickSpec, ColumnRule, Pooling
from recsys.prepare.files.open_table import find_column

TRANSFORM = re.compile(r"(?P<name>.+):(?P<transform>log|standardise|none|bins(:\d*)?)")


@dataclass(frozen=True)
class ColumnOptions:
    """What the command line says of columns; names may be patterns of *, ? and [ ]."""

    categorical: Sequence[str] = ()
    dense: Sequence[str] = ()
    lists: Sequence[str] = ()
    pooling: Pooling = "mean"

    def __bool__(self) -> bool:
        return bool(self.categorical or self.dense or self.lists)

    def rules(self, columns: Sequence[str], special: Sequence[str], file: str) -> tuple[ColumnRule, ...]:
        """A rule for every column that is named, in the order of the columns.

        Args:
            columns: That the file has.
            special: Columns that no pattern takes: label, weight, time, split and keys.
            file: For messages.

        Raises:
            ValueError: A column is not there, no column is like a pattern, or one is given two kinds.
        """
        named = [*self._parsed(columns)]
        exact = {rule.name: (rule, option) for rule, option in named if rule.name in columns}
        found = {name: rule for name, (rule, _) in exact.items()}
        if len(exact) < sum(rule.name in columns for rule, _ in named):
            twice = next(rule.name for rule, _ in named if [each.name for each, _ in named].count(rule.name) > 1)
            raise ValueError(f"column '{twice}' is named twice; name it once.")
        for pattern, option in named:
            if pattern.name in exact:
                continue
            if not any(character in pattern.name for character in "*?["):
                find_column(columns, pattern.name, option, file)
            like = [name for name in columns if fnmatchcase(name, pattern.name)]
            if not like:
                raise ValueError(f"{option}: no column of '{file}' is like '{pattern.name}' ({', '.join(columns)}).")
            for name in like:
                if name in exact or name in special:
                    continue
                if name in found:
                    raise ValueError(
                        f"{option} '{pattern.name}': column '{name}' has a kind already; name it by itself."
                    )
                found[name] = ColumnRule(name, pattern.kind, pattern.transform, pattern.separator, pattern.pooling)
        return tuple(found[name] for name in columns if name in found)

    def _parsed(self, columns: Sequence[str]) -> Iterator[tuple[ColumnRule, str]]:
        for entry in self.categorical:
            yield _pattern(entry, "categorical"), "--categorical"
        for entry in self.dense:
            match = None if entry in columns else TRANSFORM.fullmatch(entry)
            name, transform = (entry, None) if match is None else (match["name"], match["transform"])
            column, colon, unknown = name.rpartition(":")
            if colon and name not in columns and column in columns:
                raise ValueError(
                    f"--dense {entry}: '{unknown}' is no transform; take standardise, log, bins:N or none."
                )
            yield _pattern(name, "dense", transform=transform), "--dense"
        for entry in self.lists:
            name, colon, separator = (entry, "", "") if entry in columns else entry.partition(":")
            if colon and not separator:
                raise ValueError(f"--lists {entry}: no separator after the colon; write {name}:'|', or {name} alone.")
            yield _pattern(name, "lists", separator=separator or None, pooling=self.pooling), "--lists"


def _pattern(name: str, kind: str, **others: object) -> ColumnRule:
    return ColumnRule(name, kind, **others)  # type: ignore[arg-type]


def decisions(spec: ClickSpec, columns: Sequence[str]) -> list[str]:
    """A line for every column of the file: what it is, and why."""
    roles = {spec.label: "label", spec.weight: "weight", spec.time: "time", spec.split_column: "split"}
    kinds = {rule.name: _kind(rule) for rule in spec.columns}
    lines = []
    for name in columns:
        kind = roles.get(name) or kinds.get(name) or ("key" if name in spec.keys else "left out")
        kind += ", group" if name == spec.group else ""
        reason = spec.reasons.get(name, "")
        lines.append((name, kind, reason.partition(": ")[2] or reason))
    widths = [max(len(line[place]) for line in lines) for place in (0, 1)]
    return [f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {reason}".rstrip() for name, kind, reason in lines]


def _kind(rule: ColumnRule) -> str:
    detail = rule.transform or (repr(rule.separator) if rule.separator else "")
    return f"{rule.kind} {detail}".strip()

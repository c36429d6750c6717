"""Which feature has which entry of `tables`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from recsys.data.schema import Column
from recsys.tables import FullTable, Table

DEFAULT_ENTRY = "default"

TableFactory = Callable[[str, int, int], Table]
"""Called with (name, num_embeddings, embedding_dim)."""


@dataclass(frozen=True)
class Assignment:
    """The tables that there are, and which feature has which; see CTRTask for the meaning of each.

    Args:
        columns: the features that have a table.
        tables: factories of tables, by entry.
        assign: for each entry, the features that use it.
        exact_up_to: features with at most this many ids keep a FullTable.
    """

    columns: Sequence[Column]
    tables: Mapping[str, TableFactory] = field(default_factory=lambda: {DEFAULT_ENTRY: FullTable})
    assign: Mapping[str, Sequence[str]] = field(default_factory=dict)
    exact_up_to: int = 0

    def entries(self) -> dict[str, str | None]:
        """The entry of each feature; None for an exact FullTable.

        Raises:
            ValueError: if the features and the entries do not fit each other.
        """
        return assign_features(self.columns, list(self.tables), self.assign, self.exact_up_to)

    def check(self) -> None:
        """Refuse a number of ids below 0, a table in place of what makes some, and an entry without features.

        Raises:
            ValueError: naming the value or the entry.
        """
        if self.exact_up_to < 0:
            raise ValueError(f"exact_up_to must be at least 0, got {self.exact_up_to}.")
        for name, factory in self.tables.items():
            # A table can be called, and so passes for what makes tables.
            if isinstance(factory, Table):
                kind = type(factory).__name__
                raise ValueError(f"tables['{name}'] must make tables, as the class {kind} does, got {factory!r}.")
        idle = [name for name in self.tables if name != DEFAULT_ENTRY and not self.assign.get(name)]
        if idle:
            raise ValueError(
                f"tables has '{idle[0]}', which no feature uses; name its features, assign: {{{idle[0]}: [...]}}, or "
                "leave it out."
            )

    def factory(self, entry: str | None) -> TableFactory:
        """What makes the tables of an entry."""
        return FullTable if entry is None else self.tables[entry]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of ids of each feature."""
        return {column.name: column.num_embeddings or 0 for column in self.columns}

    def takes_budget(self, entry: str | None, embedding_dim: int) -> bool:
        """Whether the tables of an entry have a size to choose."""
        if entry is None:
            return False
        try:
            self.tables[entry]("probe", 1 << 10, embedding_dim, budget_fraction=1.0)  # type: ignore[call-arg]
        except TypeError:
            return False
        except ValueError:
            # It has one, and what is wrong will be said of a feature.
            return True
        return True


def assign_features(
    columns: Sequence[Column], entries: Sequence[str], assign: Mapping[str, Sequence[str]], exact_up_to: int
) -> dict[str, str | None]:
    """The entry of `tables` that each feature uses; None for an exact FullTable.

    Args:
        columns: the categorical and multi-valued features.
        entries: names of `tables`.
        assign: patterns of feature names for each entry; unmatched features use "default".
        exact_up_to: features with at most this many ids stay exact, unless a pattern names them.

    Raises:
        ValueError: on an entry that does not exist, a pattern without feature, a feature matched twice, or a feature
            left without a table.
    """
    named = _named_features([column.name for column in columns], entries, assign)
    found: dict[str, str | None] = {}
    for column in columns:
        assert column.num_embeddings is not None
        is_exact = column.name not in named and column.num_embeddings <= exact_up_to
        found[column.name] = None if is_exact else named.get(column.name, DEFAULT_ENTRY)
    orphans = [name for name, entry in found.items() if entry == DEFAULT_ENTRY and DEFAULT_ENTRY not in entries]
    if orphans:
        close = get_close_matches(DEFAULT_ENTRY, entries, n=1)
        hint = f" (tables has '{close[0]}'; did you mean '{DEFAULT_ENTRY}'?)" if close else ""
        raise ValueError(f"features {orphans} have no table: assign them or add '{DEFAULT_ENTRY}' to tables{hint}.")
    return found


def _named_features(
    features: Sequence[str], entries: Sequence[str], assign: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The features that patterns match, and the entry that each pattern is of."""
    found: dict[str, str] = {}
    for entry, patterns in assign.items():
        if entry not in entries:
            raise ValueError(f"assign names table '{entry}', which is not in tables{did_you_mean(entry, entries)}")
        for pattern in patterns:
            for name in _matched(pattern, features):
                if found.setdefault(name, entry) != entry:
                    raise ValueError(f"assign gives feature '{name}' to both '{found[name]}' and '{entry}'.")
    return found


def _matched(pattern: str, features: Sequence[str]) -> list[str]:
    matched = [name for name in features if fnmatchcase(name, pattern)]
    if not matched:
        raise ValueError(f"assign: '{pattern}' matches no feature{did_you_mean(pattern, features)}")
    return matched


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of an error message: the nearest known word, and all of them."""
    close = get_close_matches(word, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(known)})"

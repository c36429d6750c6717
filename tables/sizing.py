"""Several tables within one budget of bytes: as large as they fit, tiny ones exact, never beyond."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from recsys.tables.base import Table
from recsys.tables.budget import BudgetError
from recsys.tables.full import FullTable
from recsys.tables.storages import unique_physical_tables

SizedFactory = Callable[..., Table]
"""Called with (name, num_embeddings, embedding_dim), and with one of budget_bytes and budget_fraction."""

_HALVINGS = 40
_LEAST = 1e-12


def stored_bytes(tables: Mapping[str, Table]) -> int:
    """Bytes of the matrices of some tables in float32, shared ones once, and of what the tables keep besides."""
    every = list(tables.values())
    sized = [table.sized_among(every) for table in every]
    matrices = unique_physical_tables(sized).values()
    return sum(matrix.num_bytes() for matrix in matrices) + sum(table.own_bytes() for table in sized)


def fit_tables(
    factories: Mapping[str, SizedFactory],
    sizes: Mapping[str, int],
    embedding_dim: int,
    budget_bytes: int,
    beside: Mapping[str, Table] = MappingProxyType({}),
) -> dict[str, Table]:
    """Tables that together take at most a budget: each the same fraction of its full bytes, the rest to the largest.

    A table that cannot be as small as the others takes the smallest size that its method has, or all its rows where
    that is less.

    Args:
        factories: by feature.
        sizes: V of each feature.
        embedding_dim: D.
        budget_bytes: of all tables together, as training holds them, without optimizer state.
        beside: tables that have their sizes, and count in the budget.

    Raises:
        ValueError: if the smallest tables need more, with what they need.
    """
    makers = {name: _Maker(factory, name, sizes[name], embedding_dim) for name, factory in factories.items()}

    def make(fraction: float) -> dict[str, Table]:
        return {name: maker(fraction) for name, maker in makers.items()}

    def count(tables: Mapping[str, Table]) -> int:
        return stored_bytes({**beside, **tables})

    full = make(1.0)
    if count(full) <= budget_bytes:
        return full
    low = _smallest(lambda fraction: _is_whole(make(fraction)))
    high, best = 1.0, make(low)
    if count(best) > budget_bytes:
        kinds = ", ".join(dict.fromkeys(type(table).__name__ for table in best.values()))
        others = f" beside {stored_bytes(beside)} bytes of tables without a size to choose" if beside else ""
        raise BudgetError(
            f"budget_bytes={budget_bytes} cannot be met by {len(best)} tables ({kinds}){others}; the smallest budget "
            f"that can is {count(best)} bytes.",
            count(best),
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tables = make(middle)
        if count(tables) <= budget_bytes:
            low, best = middle, tables
        else:
            high = middle
    return _filled(best, makers, budget_bytes, beside)


def _smallest(fits: Callable[[float], bool]) -> float:
    """The smallest fraction with which tables can be made."""
    if fits(_LEAST):
        return _LEAST
    low, high = _LEAST, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _is_whole(tables: Mapping[str, Table]) -> bool:
    """Whether all shares of a matrix add up to a row of it."""
    try:
        stored_bytes(tables)
    except BudgetError:
        return False
    return True


class _Maker:
    """Makes one table of a fraction, or of a number of bytes."""

    def __init__(self, factory: SizedFactory, name: str, num_embeddings: int, embedding_dim: int) -> None:
        self._factory = factory
        self._sizes = (name, num_embeddings, embedding_dim)
        self._full = FullTable(*self._sizes)

    def __call__(self, fraction: float) -> Table:
        try:
            return self._factory(*self._sizes, budget_fraction=fraction)
        except BudgetError as error:
            if self._full.logical_bytes() <= error.smallest_bytes:
                return self._full
            return self.of_bytes(error.smallest_bytes)

    def of_bytes(self, num_bytes: int) -> Table:
        """A table that takes at most so much."""
        return self._factory(*self._sizes, budget_bytes=num_bytes)


def _filled(
    tables: dict[str, Table], makers: Mapping[str, _Maker], budget_bytes: int, beside: Mapping[str, Table]
) -> dict[str, Table]:
    """Give what is left to one table after the other, the largest first."""
    tables = dict(tables)
    for name in sorted(tables, key=lambda each: -tables[each].logical_bytes()):
        before = stored_bytes({**beside, **tables})
        try:
            own = stored_bytes({name: tables[name]})
            larger = {**tables, name: makers[name].of_bytes(own + budget_bytes - before)}
            if before < stored_bytes({**beside, **larger}) <= budget_bytes:
                tables = larger
        except ValueError:
            # A shared matrix is sized by all that share it, not by one.
            continue
    return tables

"""Tables that are made by what a user gave: a class, a partial of one, or a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from recsys.tables.base import Table
from recsys.tables.contract_checks import check_made


def table_of(
    owner: str,
    factory: Callable[..., Table],
    name: str,
    num_embeddings: int,
    embedding_dim: int,
    init_std: float | None = None,
) -> Table:
    """The table that a factory makes of these sizes.

    Args:
        owner: for messages.
        factory: called with name, num_embeddings, embedding_dim, and init_std if there is one.
        name: of the table.
        num_embeddings: V.
        embedding_dim: D.
        init_std: of the vectors; None leaves it to the factory.

    Raises:
        ValueError: if it cannot be called so, or makes no table of these sizes; or as the table's constructor does.
    """
    options = {} if init_std is None else {"init_std": init_std}
    made_by, given, named = factory, (), dict[str, object]()
    if isinstance(factory, partial):
        made_by, given, named = factory.func, factory.args, factory.keywords
    said = getattr(made_by, "__name__", repr(made_by))
    try:
        inspect.signature(made_by).bind(*given, name, num_embeddings, embedding_dim, **{**named, **options})
    except TypeError as error:
        words = ", ".join(["name", "num_embeddings", "embedding_dim", *options])
        raise ValueError(
            f"{owner}: {said} cannot be called with ({words}): {error}; give what else it needs by functools.partial."
        ) from error
    except ValueError as error:
        raise ValueError(f"{owner}: {said} makes no table; give a class such as FullTable.") from error
    table = factory(name, num_embeddings, embedding_dim, **options) if _may_make_tables(made_by) else made_by
    if not isinstance(table, Table):
        raise ValueError(f"{owner}: {said} must make a Table, got {table!r}.")
    check_made(table)
    if (table.num_embeddings, table.embedding_dim) != (num_embeddings, embedding_dim):
        raise ValueError(
            f"{owner}: {said} must make a table of {num_embeddings} x {embedding_dim}, the sizes that it is given, got "
            f"{table.num_embeddings} x {table.embedding_dim}."
        )
    return table


def _may_make_tables(made_by: object) -> bool:
    """Whether it is worth a try: a class of something else would say why it cannot be made of the sizes of a table."""
    if not isinstance(made_by, type):
        return True
    return issubclass(made_by, Table) or "__new__" in vars(made_by)

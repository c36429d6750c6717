"""Rows of fewer bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from recsys.compression.allocation import Choice, allocate
from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, constant, whole
from recsys.tables import QuantizedTable
from recsys.tables.quantized import Precision, decoded, encoded
from recsys.tables.sizing import stored_bytes

_NUM_LEVELS = {"int8": 256, "int4": 16}


class OnePrecision(Method):
    """All tables in one precision, those excepted that would not be smaller."""

    precision: ClassVar[Precision]

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        found = {table.name: quantized(table, self.precision) for table in tables}
        if bytes_of(found) > budget_bytes:
            raise self.refuse(budget_bytes, bytes_of(found))
        return found


class Half(OnePrecision):
    """Half-precision rows, half the bytes; vectors beyond the range of float16 are refused."""

    name = "fp16"
    precision = "float16"


class Int8(OnePrecision):
    """Codes of 8 bits and a scale per row; see QuantizedTable."""

    name = "int8"
    precision = "int8"


class Int4(OnePrecision):
    """Codes of 4 bits and a scale per row; see QuantizedTable."""

    name = "int4"
    precision = "int4"


class MixedPrecision(Method):
    """The precision of each table at which all together lose least; a table that gets none becomes its mean.

    Source: bits by what the loss feels, as in Dong et al., "HAWQ" (arXiv:1905.03696), with the sensitivity of columns
    and the frequency of ids for the curvature.
    """

    name = "precision"

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        choices = {table.name: _choices(table) for table in tables}
        chosen = allocate(choices, budget_bytes)
        if chosen is None:
            raise self.refuse(budget_bytes, sum(own[0].num_bytes for own in choices.values()))
        found = {}
        for table in tables:
            place = chosen[table.name]
            found[table.name] = constant(table) if place == 0 else quantized(table, _PRECISIONS[place - 1])
        assert bytes_of(found) <= budget_bytes
        return found


_PRECISIONS: tuple[Precision, ...] = ("int4", "int8", "float16", "float32")


def quantized(table: TrainedTable, precision: Precision) -> Compressed:
    """A table in a precision, or as it is where that takes fewer bytes."""
    if precision == "float32" or _num_bytes(table, precision) >= table.full_bytes:
        return whole(table)
    found = QuantizedTable(table.name, table.num_embeddings, table.embedding_dim, precisions=(precision,))
    return found, found.values_of(table.vectors)


def _num_bytes(table: TrainedTable, precision: Precision) -> int:
    narrow = QuantizedTable(table.name, table.num_embeddings, table.embedding_dim, precisions=(precision,))
    return stored_bytes({table.name: narrow})


def _choices(table: TrainedTable) -> list[Choice]:
    """Of no precision, and of each from the lowest."""
    found = [Choice(4 * table.embedding_dim, _loss(table, None))]
    for precision in _PRECISIONS:
        num_bytes = table.full_bytes if precision == "float32" else _num_bytes(table, precision)
        found.append(Choice(min(num_bytes, table.full_bytes), _loss(table, precision)))
    return found


@torch.no_grad()
def _loss(table: TrainedTable, precision: Precision | None) -> float:
    """What a precision, or None, which is the mean alone, costs by second order."""
    total = 0.0
    for piece in table.pieces():
        vectors = table.vectors[piece]
        if precision is None:
            errors = vectors - table.mean()
        elif precision in _NUM_LEVELS:
            scale = vectors.abs().amax(1, keepdim=True) / ((_NUM_LEVELS[precision] - 1) / 2)
            codes = decoded(encoded(vectors, scale, precision).float(), precision)[:, : table.embedding_dim]
            errors = codes * scale - vectors
        else:
            errors = vectors.half().float() - vectors if precision == "float16" else torch.zeros_like(vectors)
        total += float(table.weights[piece] @ (errors.square() @ table.sensitivity))
    return total

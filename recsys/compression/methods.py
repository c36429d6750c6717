"""The methods by the names that the command line calls them."""

from __future__ import annotations

from recsys.compression.codebooks import ProductQuantization
from recsys.compression.entries import MagnitudePruning, SaliencyPruning
from recsys.compression.method import Method
from recsys.compression.narrow import SVD
from recsys.compression.precision import Half, Int4, Int8, MixedPrecision
from recsys.compression.rows import RowPruning
from recsys.compression.shaver import Shaver

METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        MagnitudePruning,
        SaliencyPruning,
        RowPruning,
        Shaver,
        SVD,
        Half,
        Int8,
        Int4,
        MixedPrecision,
        ProductQuantization,
    )
}

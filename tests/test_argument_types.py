"""Arguments of another type than their annotation are refused in a sentence, by whatever is built from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recsys.argument_types import check_types, typed
from recsys.tables import (
    Coprime,
    DistanceLFU,
    Embedding,
    EmbeddingBag,
    Feature,
    FullTable,
    HashTable,
    MixedRadix,
    NGrams,
    PhysicalTable,
    Prefixes,
    QuantizedTable,
    RandomCodes,
    RandomVectors,
    SwapRule,
    Table,
    TableCollection,
    TiedHead,
    power_law_dims,
    power_law_dims_for_budget,
    swap_,
)
from tests.tables.contract import EXAMPLES

SIZES = {"name": "f", "num_embeddings": 3_000, "embedding_dim": 24}


@pytest.mark.parametrize(("table_type", "arguments"), EXAMPLES.values(), ids=EXAMPLES)
def test_no_argument_of_a_table_is_of_any_type(table_type, arguments):
    for name in inspect.signature(table_type).parameters:
        with pytest.raises(ValueError, match=rf"^{table_type.__name__} .*: {name} must be .*, got <object"):
            table_type(**{**SIZES, **arguments, name: object()})


FULL = FullTable("f", 9, 4)
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "text for a number": (lambda: HashTable("f", "9", 4, num_rows=2), "'f': num_embeddings must be int, got '9'"),
    "truth for a number": (lambda: HashTable("f", 9, 4, num_rows=True), "num_rows must be int or None, got True"),
    "a fraction of a row": (lambda: HashTable("f", 9, 4, num_rows=2.0), "num_rows must be int or None, got 2.0"),
    "numpy": (lambda: FullTable("f", np.int64(9), 4), r"must be int, got np.int64\(9\); write int\(num_embeddings\)"),
    "a tensor": (lambda: FullTable("f", torch.tensor(9), 4), r"got tensor\(9\); write int\(num_embeddings\)"),
    "no name": (lambda: FullTable(None, 9, 4), "FullTable None: name must be str, got None"),
    "a word for a list": (
        lambda: QuantizedTable("f", 9, 4, precisions="int8"),
        "precisions must be a list of some of float32, float16, bfloat16, int8, int4, got 'int8'",
    ),
    "more than int64": (lambda: FullTable("f", 10**30, 4), r"num_embeddings must be in \[1, 2\*\*62=46116"),
    "a feature": (lambda: Feature("", "f"), "Feature: name and table must not be empty, got '' and 'f'"),
    "a feature's name": (lambda: Feature(3, "f"), "Feature: name must be str, got 3"),
    "a length": (lambda: Feature("f", "f", "sequence", "9"), "Feature: max_length must be int or None, got '9'"),
    "a matrix": (lambda: PhysicalTable("f", 0, 4, 0.1), "num_rows must be at least 1, got 0"),
    "values": (lambda: PhysicalTable("f", 9, 4, 0.1, values=[1]), r"values must be Tensor or None, got \[1\]"),
    "a mean": (lambda: PhysicalTable("f", 9, 4, 0.1, float("nan")), "init_mean must be .*finite, got nan"),
    "runs": (lambda: NGrams("2"), "NGrams: length must be int, got '2'"),
    "prefixes": (lambda: Prefixes(1.5), "Prefixes: num_prefixes must be int or None, got 1.5"),
    "partitions": (lambda: MixedRadix(10**30), r"MixedRadix: num_partitions must be in \[1, 64\], got 1000"),
    "coprimes": (lambda: Coprime(2.5), "Coprime: num_partitions must be int, got 2.5"),
    "codes": (lambda: RandomCodes(3, 0), "RandomCodes: num_codes must be in .*, got 0"),
    "a seed": (lambda: RandomCodes(3, 9, seed="a"), "RandomCodes: seed must be int, got 'a'"),
    "vectors": (lambda: RandomVectors(-1), "RandomVectors: width must be in .*, got -1"),
    "a policy": (lambda: DistanceLFU("2"), "DistanceLFU: decay_exponent must be float, got '2'"),
    "sparse": (lambda: Embedding(FULL, sparse="yes"), "Embedding: sparse must be true or false, got 'yes'"),
    "dtype": (lambda: Embedding(FULL, dtype="float32"), "Embedding: dtype must be dtype or None, got 'float32'"),
    "padding": (lambda: Embedding(FULL, padding_idx=np.int64(1)), r"padding_idx must be int or None, .*; write int\("),
    "a bag": (lambda: EmbeddingBag(FULL, include_last_offset=1), "EmbeddingBag: include_last_offset must be true or"),
    "a chunk": (lambda: [*Embedding(FULL).all_vectors(-1)], "FullTable 'f': chunk must be at least 1, got -1"),
    "a head": (lambda: TiedHead(nn.Embedding(9, 4)), "TiedHead: embedding must be Embedding, got Embedding"),
    "ids to grow to": (lambda: Embedding(FULL).grow("12"), "num_embeddings must be at least 9, got '12'"),
    "features": (lambda: TableCollection(Feature("f", "f"), {"f": FULL}), "features must be a list of Feature, got"),
    "a class of optimizers": (
        lambda: TableCollection([Feature("f", "f")], {"f": FULL}, optimizer="SGD"),
        "TableCollection: optimizer must be TableOptimizer or a mapping of str to TableOptimizer or None, got 'SGD'",
    ),
    "clipping": (
        lambda: TableCollection([Feature("f", "f")], {"f": FULL}, clip_rows=None),
        "clip_rows must be true or",
    ),
    "a rate": (
        lambda: TableCollection([Feature("f", "f")], {"f": FULL}).step(float("nan")),
        "TableCollection.step: learning_rate_factor must be at least 0 and finite, got nan",
    ),
    "one rule": (lambda: swap_(nn.Sequential(), SwapRule(FullTable)), "swap_: rules must be a list of SwapRule, got"),
    "one optimizer": (
        lambda: swap_(nn.Sequential(), [], optimizers=3),
        "swap_: optimizers must be a list of Optimizer",
    ),
    "a rule": (lambda: SwapRule(FullTable, fit="no"), "SwapRule: fit must be true or false, got 'no'"),
    "a range": (lambda: SwapRule(FullTable, min_embeddings=9, max_embeddings=3), "at most max_embeddings, got 9 and 3"),
    "widths": (lambda: power_law_dims([10, 0], 16), "power_law_dims: num_embeddings must be at least 1, got 0"),
    "a multiple": (lambda: power_law_dims([10], 16, multiple_of=0), "multiple_of must be at least 1, got 0"),
    "a budget": (lambda: power_law_dims_for_budget([10], 16, "1MB"), "budget_bytes must be int, got '1MB'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_cannot_be_meant_is_refused(case):
    build, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        build()


@typed
def everything(
    number: int = 1,
    real: float = 1,
    word: str | None = None,
    pair: tuple[int, int] = (1, 2),
    many: Sequence[float] = (),
    by_name: Mapping[str, int] | None = None,
    choice: Literal["a", 1] = "a",
    make: Callable[[], object] = list,
    kind: type[nn.Module] = nn.Linear,
    tensor: Tensor | None = None,
    anything: Any = None,
) -> None:
    """Every kind of annotation there is in the tables."""


def test_what_an_annotation_allows():
    everything(7, 3, "x", [1, 2], [1, 2.5], {"a": 1}, 1, partial(int), nn.ReLU, torch.ones(2), object())
    everything(real=np.float64(0.5))  # a float of Python as well
    for name, value in [
        *(("number", value) for value in (1.0, True, "1", None, np.int32(1))),
        *(("real", value) for value in (True, "1", None, np.float32(1), torch.tensor(1.0))),
        *(("pair", value) for value in ((1,), (1, 2, 3), [1, 2.0], "12", 3)),
        *(("many", value) for value in ("12", [1, "2"], {1}, 3, torch.ones(2))),
        *(("choice", value) for value in ("b", True, 1.0, None)),
        *(("by_name", []), ("make", 3), ("kind", nn.Linear(1, 1)), ("tensor", [1.0]), ("word", b"x")),
    ]:
        with pytest.raises(ValueError, match=f"everything: {name} must be "):
            everything(**{name: value})


def test_an_annotation_unknown_at_run_time_allows_everything():
    def somebody(number: Unknown) -> None:  # type: ignore[name-defined] # noqa: F821
        """Annotated with a name that is imported for type checkers alone."""

    check_types("somebody", somebody, {"number": object()})


class Own(Table):
    """Somebody's method."""

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int, *, sign: bool, unannotated=None) -> None:
        super().__init__(name, num_embeddings, embedding_dim)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, 0.1),)

    def route(self, ids: Tensor, constants: Any) -> Tensor:
        """The id is the row."""
        return ids


def test_a_method_of_ones_own_is_checked_by_its_own_annotations():
    assert Own("f", 9, 4, sign=True, unannotated=object()).arguments["sign"] is True
    with pytest.raises(ValueError, match="Own 'f': sign must be true or false, got 1"):
        Own("f", 9, 4, sign=1)

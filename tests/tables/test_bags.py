"""Multi-valued features: weights, sequences, groups of many, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Bag,
    FbgemmLookup,
    Feature,
    FullTable,
    MixedDimTable,
    NumbaLookup,
    QRTable,
    TableCollection,
    TorchLookup,
)

D = 8
KINDS = {"full": FullTable, "qr": QRTable, "mixed": lambda *sizes: MixedDimTable(*sizes, row_dim=4)}
every_kind = pytest.mark.parametrize("kind", KINDS)
NOTHING = torch.zeros(0, 0, dtype=torch.int64)


def collect(kind, features, lookup=TorchLookup, **settings):
    tables = {name: KINDS[kind](name, 30 + i, D) for i, name in enumerate(dict.fromkeys(f.table for f in features))}
    return TableCollection(features, tables, lookup=lookup, **settings)


def vector(collection, name, identifier):
    single = TableCollection([Feature(name, name)], {name: collection.table(name)})
    single.lookup.load_state_dict(
        {k: v for k, v in collection.lookup.state_dict().items() if k.rpartition(".")[0] in single.lookup.tables}
    )
    return single(torch.tensor([[identifier]]))[0, 0]


@every_kind
@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup, FbgemmLookup])
def test_weights_multiply_vectors_and_get_gradients(kind, lookup):
    collection = collect(kind, [Feature("a", "a", "sum"), Feature("b", "b", "sum")], lookup)
    weights = torch.tensor([0.5, -2.0, 3.0], requires_grad=True)
    bags = {
        "a": Bag(torch.tensor([4, 9, 4]), torch.tensor([2, 0, 1]), weights),
        "b": Bag(torch.tensor([7]), torch.tensor([0, 1, 0])),
    }
    vectors = collection(NOTHING, bags)
    four, nine, seven = vector(collection, "a", 4), vector(collection, "a", 9), vector(collection, "b", 7)
    zeros = torch.zeros(D)
    assert_close(vectors[:, 0], torch.stack([0.5 * four - 2 * nine, zeros, 3 * four]))
    assert_close(vectors[:, 1], torch.stack([zeros, seven, zeros]))
    vectors.sum().backward()
    assert_close(weights.grad, torch.stack([four.sum(), nine.sum(), four.sum()]))


@every_kind
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), max_length=st.none() | st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_sequences_are_left_as_they_are(kind, lengths, max_length):
    features = [
        Feature("history", "item", "sequence", max_length),
        Feature("other", "b", "sequence"),
        Feature("item", "item"),
        Feature("bag", "item", "mean"),
    ]
    collection = collect(kind, features)
    lengths = torch.tensor(lengths)
    values = torch.randint(0, 30, (int(lengths.sum()),))
    bag = Bag(values, lengths)
    embedded = collection(torch.randint(0, 30, (1, len(lengths))), {"history": bag, "other": bag, "bag": bag})
    assert embedded.vectors.shape == (len(lengths), 2, D)
    for name, table, longest in (("history", "item", max_length), ("other", "b", None)):
        vectors, mask = embedded.sequences[name]
        places = int(lengths.max()) if longest is None else longest
        assert vectors.shape == (len(lengths), places, D)
        assert mask.tolist() == [[place < length for place in range(places)] for length in lengths.tolist()]
        start = 0
        for sample, length in enumerate(lengths.tolist()):
            for place in range(places):
                known = place < length
                expected = vector(collection, table, values[start + place].item()) if known else torch.zeros(D)
                assert_close(vectors[sample, place], expected)
            start += length


def test_sequences_train():
    collection = collect("full", [Feature("history", "item", "sequence")], optimizer=SGD(1.0))
    before = collection.lookup.weight("item").clone()
    bags = {"history": Bag(torch.tensor([3, 3, 5]), torch.tensor([2, 1]))}
    embedded = collection(NOTHING, bags)
    assert embedded.vectors.shape == (2, 0, D)
    embedded.sequences["history"][0].sum().backward()
    collection.step()
    moved = (before - collection.lookup.weight("item"))[:, 0]
    assert moved[[3, 5, 4]].tolist() == pytest.approx([2.0, 1.0, 0.0])


@every_kind
def test_a_hundred_bags_are_pooled_like_each_alone(kind):
    names = [f"f{i}" for i in range(100)]
    features = [Feature(name, name, ("sum", "mean")[i % 2]) for i, name in enumerate(names)]
    collection = collect(kind, features)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 4, (100, 6), generator=generator)
    bags = {
        name: Bag(torch.randint(0, 30, (int(own.sum()),), generator=generator), own)
        for name, own in zip(names, lengths, strict=True)
    }
    together = collection(NOTHING, bags)
    for i in (0, 1, 57, 99):
        alone = TableCollection([features[i]], {names[i]: collection.table(names[i])})
        assert_close(together[:, i], alone(NOTHING, {names[i]: bags[names[i]]})[:, 0])


def bag(num_ids=3, lengths=(2, 1), **settings):
    return Bag(torch.zeros(num_ids, dtype=torch.int64), torch.tensor(lengths), **settings)


@pytest.mark.parametrize(
    ("ids", "bags", "message"),
    [
        ([[1, 2]], {}, r"bags lack the multi-valued features \['m', 's'\]; given: \[\]"),
        ([[1, 2]], {"m": bag(), "s": bag(lengths=(3,))}, "feature 's': its bag has 1 samples, the batch 2"),
        ([[1, 2]], {"m": bag(), "s": bag(lengths=(2, 2))}, "feature 's': lengths add up to 4, but there are 3 ids"),
        ([[1, 2]], {"m": bag(), "s": bag(lengths=(4, -1))}, "feature 's': lengths must be at least 0, got -1"),
        (
            [[1, 2]],
            {"m": bag(weights=torch.ones(3)), "s": bag()},
            "feature 'm': weights go with pooling 'sum', got 'mean'",
        ),
        ([[1, 2]], {"m": bag(), "s": bag(weights=torch.ones(2))}, "feature 's': weights must be one per id, 3, got 2"),
        ([[1, 30]], {"m": bag(), "s": bag()}, r"feature 'a': ids must be in \[0, num_embeddings=30\), got 30"),
        ([[-1, 3]], {"m": bag(), "s": bag()}, r"feature 'a': ids must be in \[0, num_embeddings=30\), got -1"),
        (
            [[1, 2]],
            {"m": bag(), "s": Bag(torch.tensor([0, 32]), torch.tensor([1, 1]))},
            r"feature 's': .*=32\), got 32",
        ),
        ([[1.0, 2.0]], {"m": bag(), "s": bag()}, r"ids must be integers, got torch\.float32"),
        ([[True, False]], {"m": bag(), "s": bag()}, r"ids must be integers, got torch\.bool"),
        ([[1, 2], [1, 2]], {"m": bag(), "s": bag()}, r"ids must be a Tensor \[F1=1, B\]"),
    ],
)
@pytest.mark.parametrize("kind", ["full", "qr"])
def test_a_batch_that_does_not_fit_is_named(kind, ids, bags, message):
    collection = collect(kind, [Feature("a", "a"), Feature("m", "m", "mean"), Feature("s", "s", "sum")])
    with pytest.raises(ValueError, match=message):
        collection(torch.tensor(ids), bags)


@pytest.mark.parametrize(("pooling", "max_length"), [("sequence", 0), ("sum", 3), (None, 3)])
def test_max_length_goes_with_sequences(pooling, max_length):
    with pytest.raises(ValueError, match="max_length must be at least 1 and goes with pooling 'sequence'"):
        Feature("a", "a", pooling, max_length)

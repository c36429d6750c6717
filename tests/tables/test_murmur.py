"""thinc's rows for the same keys and seeds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import Embedding, Feature, MurmurTable, TableCollection
from recsys.tables.murmur import _seed_of
from recsys.tables.routing.murmur import murmur3_words

MASK = (1 << 64) - 1

# Made with thinc: key, seed and the four words.
GOLDEN = [
    (1, 0, (4211459146, 4457399, 3547175942, 1032506804)),
    (1234567, 8, (3302716954, 3365924689, 2806591783, 753919738)),
    (2, 8, (180622166, 2914303317, 2418416897, 2223971327)),
    (0, 8, (0, 0, 0, 0)),
    (0, 0, (3428303819, 685728695, 3303603794, 4065689084)),
    (1 << 63, 8, (2354736462, 2184247079, 1384621045, 1128886971)),
]


def slow_mix(word):
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ (word >> 33)) * factor & MASK
    return word ^ (word >> 33)


def slow_words(key, seed):
    """The definition, in unbounded integers."""
    first = key * 0x87C37B91114253D5 & MASK
    first = ((first << 31) | (first >> 33)) * 0x4CF5AD432745937F & MASK
    first, second = first ^ seed ^ 8, seed ^ 8
    first = (first + second) & MASK
    second = (second + first) & MASK
    first, second = slow_mix(first), slow_mix(second)
    first = (first + second) & MASK
    second = (second + first) & MASK
    low = (1 << 32) - 1
    return first & low, first >> 32, second & low, second >> 32


def signed(key):
    return key - (1 << 64) if key >> 63 else key


@pytest.mark.parametrize(("key", "seed", "words"), GOLDEN)
def test_words_equal_thinc(key, seed, words):
    assert slow_words(key, seed) == words
    assert tuple(word.item() for word in murmur3_words(torch.tensor(signed(key)), seed)) == words


@given(key=st.integers(0, MASK), seed=st.integers(0, (1 << 32) - 1))
@settings(deadline=None)
def test_words_equal_the_definition(key, seed):
    assert tuple(word.item() for word in murmur3_words(torch.tensor(signed(key)), seed)) == slow_words(key, seed)


@pytest.mark.parametrize("num_rows", [1, 701, 5_000, (1 << 32) - 1])
def test_rows_are_the_words_modulo_the_number_of_rows(num_rows):
    table = MurmurTable("norm", 1 << 40, 4, num_rows=num_rows, seed=1234)
    for key in (0, 1, 2**24 + 1, (1 << 40) - 1):
        rows = table.rows_of(torch.tensor([key]))[:, 0].tolist()
        assert rows == [word % num_rows for word in slow_words(key, 1234)]


def test_a_vector_is_the_sum_of_its_four_rows():
    embedding = Embedding(MurmurTable("norm", 1_000, 8, num_rows=50, seed=9))
    rows = [word % 50 for word in slow_words(777, 9)]
    assert_close(embedding(torch.tensor([777]))[0], sum(embedding.weights[0][row] for row in rows))


def test_each_feature_of_a_group_has_its_own_seed():
    tables = {name: MurmurTable(name, 1_000, 4, num_rows=60, seed=seed) for name, seed in {"a": 1, "b": 2}.items()}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    assert len(collection.groups) == 1
    vectors = collection(torch.tensor([[7], [7]]))[0]
    for vector, name, seed in zip(vectors, tables, (1, 2), strict=True):
        rows = [word % 60 for word in slow_words(7, seed)]
        assert_close(vector, collection.lookup.weight(name)[rows].sum(0))


def test_seed_8_is_warned_of_and_never_made_of_a_name(monkeypatch):
    with pytest.warns(UserWarning, match="seed=8 sends id 0 four times to row 0"):
        table = MurmurTable("norm", 10, 4, num_rows=7, seed=8)
    assert table.rows_of(torch.tensor([0])).flatten().tolist() == [0, 0, 0, 0]
    seeds = iter([(5 << 32) + 8, 17])
    monkeypatch.setattr("recsys.tables.murmur.name_seed", lambda *_: next(seeds))
    assert _seed_of("norm") == 17


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_has_32_bits(seed):
    with pytest.raises(ValueError, match=r"MurmurTable 'norm': seed must be in \[0, 4294967295\]"):
        MurmurTable("norm", 10, 4, num_rows=7, seed=seed)

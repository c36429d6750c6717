"""SemanticIdTable against a slow oracle: which rows an item reads, where its codes come from, what loading refuses."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    AllBigrams,
    CodeFile,
    Embedding,
    Feature,
    NGrams,
    Pieces,
    Prefixes,
    RandomCodes,
    SemanticIdTable,
    StoredCodes,
    TableCollection,
)

CODES = torch.tensor([[0, 2, 1, 1, -1, 2], [1, 0, 2, 2, -1, -1], [2, 1, 1, 0, -1, -1], [0, 0, 1, 1, -1, -1]])
"""Four levels of three codes of six ids; the last but one has none, the last has one."""

EXPECTED = {
    NGrams(1): [(0, 3 + 1, 6 + 2, 9 + 0), (2, 3 + 0, 6 + 1, 9 + 0)],
    NGrams(2): [(0 * 3 + 1, 9 + 2 * 3 + 0), (2 * 3 + 0, 9 + 1 * 3 + 0)],
    NGrams(4): [(0 * 27 + 1 * 9 + 2 * 3 + 0,), (2 * 27 + 0 * 9 + 1 * 3 + 0,)],
    AllBigrams(): [(1, 9 + 3 + 2, 18 + 6 + 0), (6, 9 + 0 + 1, 18 + 3 + 0)],
    Prefixes(1): [(0,), (2,)],
    # The recursion of arXiv:2504.02137: P_1 = c_1 + 1, P_i = 3 P_{i-1} + c_i + 1, and 1 less.
    Prefixes(3): [(0, 4, 17), (2, 9, 31)],
    Pieces(): [(0, 1, 2, 0), (2, 0, 1, 0)],
}


def table_of(codes=CODES, name="item", embedding_dim=8, **arguments):
    return SemanticIdTable(name, codes.shape[1], embedding_dim, codes=codes, **arguments)


@pytest.mark.parametrize("adaptation", EXPECTED, ids=str)
def test_rows_are_those_of_the_equations(adaptation):
    table = table_of(adaptation=adaptation)
    rows = table.rows_of(torch.arange(6))
    for item, expected in enumerate(EXPECTED[adaptation]):
        assert tuple(rows[:, item].tolist()) == expected
    assert rows[0, 4] == table.num_rows - 1
    assert (rows[1:, 4] == -1).all()
    one = rows[:, 5].tolist()
    needs_one = adaptation.needs(4)[0] == 1
    assert one[0] == (2 if needs_one else table.num_rows - 1)
    assert one[1:] == [-1] * (len(one) - 1)


@pytest.mark.parametrize("adaptation", [*EXPECTED, Prefixes()], ids=str)
@pytest.mark.parametrize("num_rows", [None, 40])
def test_vectors_are_sums_of_rows(adaptation, num_rows):
    table = table_of(adaptation=adaptation, num_rows=num_rows)
    embedding = Embedding(table)
    rows = table.rows_of(torch.arange(6))
    weight = embedding.weights[0]
    expected = torch.stack([weight[column[column >= 0]].sum(0) for column in rows.t()])
    torch.testing.assert_close(embedding(torch.arange(6)), expected)


@pytest.mark.parametrize("adaptation", [*EXPECTED, Prefixes()], ids=str)
@pytest.mark.parametrize("num_rows", [None, 40])
def test_precomputed_pieces_are_those_made_in_every_step(adaptation, num_rows):
    made = table_of(adaptation=adaptation, num_rows=num_rows)
    kept = table_of(adaptation=adaptation, num_rows=num_rows, precompute=True)
    ids = torch.tensor([5, 0, 4, 4, 1, 2, 3])
    assert torch.equal(kept.rows_of(ids), made.rows_of(ids))
    assert torch.equal(kept.likeness(), made.likeness())
    num_pieces = len(adaptation.needs(4))
    assert kept.own_bytes() == made.own_bytes() + 4 * num_pieces * 6
    bytes_with = SemanticIdTable("f", 1000, 8, codes=RandomCodes(4, 9), budget_bytes="29kB", precompute=True)
    rows = bytes_with.physical_tables()[0]
    assert 0.99 * 29_000 <= bytes_with.own_bytes() + rows.num_bytes() <= 29_000


def test_precomputed_pieces_follow_codes_that_a_checkpoint_brings():
    trained = table_of(adaptation=Prefixes(3), precompute=True)
    served = SemanticIdTable("item", 6, 8, codes=StoredCodes(4, 3), adaptation=Prefixes(3), precompute=True)
    served.load_state_dict(trained.state_dict())
    assert torch.equal(served.rows_of(torch.arange(6)), trained.rows_of(torch.arange(6)))
    codes = CODES.clone()
    codes[:, 4] = torch.tensor([2, 2, 0, 1])
    grown = table_of(codes, adaptation=Prefixes(3), precompute=True)
    grown.load_state_dict(trained.state_dict())
    assert torch.equal(grown.rows_of(torch.arange(6)), table_of(codes, adaptation=Prefixes(3)).rows_of(torch.arange(6)))


def test_unknown_items_and_items_without_content_have_rows_of_their_own_kind():
    codes = torch.tensor([[-1, 1, -1, -1], [-1, 0, -1, -1]])
    vectors = Embedding(table_of(codes))(torch.arange(4))
    assert torch.equal(vectors[2], vectors[3])
    assert not torch.equal(vectors[0], vectors[2])
    assert (vectors.abs().sum(1) > 0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 2048), st.integers(1, 8), st.integers(3, 5_000), st.integers(0, 2**31))
def test_equal_prefixes_share_rows_and_others_only_by_the_hash(num_codes, num_levels, num_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, num_codes, (num_levels, 300), generator=generator)
    table = SemanticIdTable("f", 300, 4, codes=codes, num_codes=num_codes, num_rows=num_rows)
    rows = table.rows_of(torch.arange(300))
    assert int(rows.min()) >= 0
    assert int(rows.max()) < table.num_rows - 2
    for length in range(1, num_levels + 1):
        _, groups = codes[:length].t().unique(dim=0, return_inverse=True)
        own = rows[length - 1]
        first = torch.zeros(int(groups.max()) + 1, dtype=torch.long).scatter_(0, groups, own)
        assert torch.equal(first[groups], own), "items of one prefix read one row"
        if table.is_exact:
            assert len(own.unique()) == len(first)


@pytest.mark.parametrize("num_rows", [2**22 + 2, 10_007])
def test_the_first_code_of_a_long_prefix_counts(num_rows):
    """A remainder by a power of two forgets it, and so does an overflow: 2048 ** 6 is 2 ** 66."""
    first = torch.arange(2048)
    codes = torch.stack([first, *[torch.full_like(first, 7)] * 5])
    table = SemanticIdTable("f", 2048, 4, codes=codes, num_codes=2048, num_rows=num_rows)
    rows = table.rows_of(first)
    buckets = num_rows - 2
    expected = buckets * (1 - (1 - 1 / buckets) ** 2048)
    for own in rows:
        assert len(own.unique()) == pytest.approx(expected, rel=0.02)


def test_prefixes_that_no_trained_item_has_are_not_read(tmp_path):
    #                      id 0 1  2  3  4  5  6
    codes = torch.tensor([[-1, 0, 0, 0, 1, 0, 2], [-1, 1, 1, 2, 0, 1, -1], [-1, 2, 0, 0, 0, 2, -1]])
    counts = torch.tensor([9, 5, 0, 0, 0, 1, 0])
    pq.write_table(pa.table({"id": range(7), "count": counts.numpy()}), tmp_path / "item.parquet")
    for known in (counts, counts.int(), str(tmp_path / "item.parquet")):
        table = SemanticIdTable("item", 7, 8, codes=codes, counts=known, num_rows=40)
        assert table.get_buffer("lengths").tolist() == [0, 3, 2, 1, 0, 3, 0]
    whole = SemanticIdTable("item", 7, 8, codes=codes, num_rows=40)
    expected = whole.rows_of(torch.arange(7))
    expected[2, 2], expected[1:, 3], expected[:, [4, 6]] = -1, -1, -1
    expected[0, [4, 6]] = 39
    assert torch.equal(table.rows_of(torch.arange(7)), expected)
    with pytest.raises(RuntimeError, match="the state is of rows of Prefixes, and this table of rows of AllBigrams"):
        Embedding(table_of(adaptation=AllBigrams())).load_state_dict(
            Embedding(table_of(adaptation=Prefixes(3))).state_dict()
        )
    for of, into in ((table, whole), (whole, table)):
        with pytest.raises(RuntimeError, match=r"[24] ids have other codes in the checkpoint"):
            Embedding(into).load_state_dict(Embedding(of).state_dict())


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_codes_count_as_far_as_an_item_of_training_has_them(num_codes, num_levels, num_ids, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, num_codes, (num_levels, num_ids), generator=generator)
    lengths = torch.randint(0, num_levels + 1, (num_ids,), generator=generator)
    counts = torch.randint(0, 2, (num_ids,), generator=generator)
    table = SemanticIdTable("f", num_ids, 4, codes=codes, lengths=lengths, num_codes=num_codes, counts=counts)
    words = [tuple(codes[: int(lengths[item]), item].tolist()) for item in range(num_ids)]
    known = {word[:end] for word, count in zip(words, counts, strict=True) if count for end in range(len(word) + 1)}
    expected = [max((end for end in range(len(word) + 1) if word[:end] in known), default=0) for word in words]
    assert table.get_buffer("lengths").tolist() == expected


def test_a_piece_has_one_row_wherever_it_stands():
    codes = torch.tensor([[5, 7], [7, 5]])
    for num_rows in (None, 6):
        rows = table_of(codes, adaptation=Pieces(), num_rows=num_rows).rows_of(torch.arange(2))
        assert torch.equal(rows[0], rows[1].flip(0))


def test_the_deviation_counts_how_many_pieces_items_have():
    lengths = torch.arange(20_000) % 4 + 1
    codes = torch.randint(0, 5_000, (4, 20_000))
    table = SemanticIdTable("f", 20_000, 16, codes=codes, lengths=lengths, adaptation=Pieces(), init_std=0.02)
    vectors = Embedding(table)(torch.arange(20_000))
    assert vectors.std().item() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(("num_codes", "each"), [(256, 1), (257, 2), (40_000, 4)])
@pytest.mark.parametrize("adaptation", [NGrams(1), Prefixes(), Pieces()], ids=str)
def test_a_budget_holds_the_codes_too(num_codes, each, adaptation):
    codes = RandomCodes(3, num_codes)
    table = SemanticIdTable("f", 10_000, 16, codes=codes, adaptation=adaptation, budget_bytes="150kB")
    assert table.own_bytes() == 10_000 * (3 * each + 1)
    used = table.own_bytes() + table.physical_tables()[0].num_bytes()
    at_most = table.own_bytes() + 64 * (adaptation.num_keys(3, num_codes) + 2)
    assert 0.95 * min(150_000, at_most) <= used <= 150_000
    with pytest.raises(ValueError, match=f"the smallest budget that can is {table.own_bytes() + 3 * 64} bytes"):
        SemanticIdTable("f", 10_000, 16, codes=codes, adaptation=adaptation, budget_bytes=1_000)


def test_collisions_are_counted():
    codes = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 1, 1]])
    assert table_of(codes).expected_collisions() == 2


@pytest.fixture
def files(tmp_path):
    """Codes by name, and the vocabulary: id 3 has no codes, 'z' no id; '07' and '7' are two items."""
    codes = {"item": ["7", "z", "07", "b"], "code0": pa.array([1, 2, 3, 0], pa.int16()), "code1": [3, 3, 0, None]}
    table = pa.table(codes).replace_schema_metadata({"num_codes": "9"})
    pq.write_table(table, tmp_path / "codes.parquet")
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "value": ["07", "b", "c", "7"]}), tmp_path / "vocabulary.parquet")
    return str(tmp_path / "codes.parquet"), str(tmp_path / "vocabulary.parquet")


def test_codes_of_a_file_are_joined_by_value(files):
    table = SemanticIdTable("item", 6, 8, codes=CodeFile(*files))
    assert table.num_codes == 9
    assert table.get_buffer("lengths").tolist() == [0, 2, 1, 0, 2, 0]
    assert table.get_buffer("codes")[:, [1, 4]].tolist() == [[3, 1], [0, 3]]
    assert "3 ids with 2 of 9 codes" in repr(table)


def test_codes_of_a_file_by_id(tmp_path):
    path = tmp_path / "codes.parquet"
    pq.write_table(pa.table({"item": [2, 0, 99], "code0": [1, 3, 2]}), path)
    table = SemanticIdTable("item", 4, 8, codes=CodeFile(str(path)))
    assert table.get_buffer("lengths").tolist() == [1, 0, 1, 0]
    assert table.num_codes == 4


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item": [1, 2, 1], "code0": [0, 1, 2]}, "item '1' is there twice; one row an item"),
        ({"item": [1, None, 2], "code0": [0, 1, 2]}, "an item is missing; one row an item"),
        ({"item": [1, 2], "code0": [0.5, 1.0]}, "column 'code0' of .* must hold whole numbers, got double"),
        ({"item": [1, 2], "code0": [0, -3]}, "column 'code0' of .* holds -3; codes are at least 0"),
        ({"item": [77, 78], "code0": [0, 1]}, "is an id of the table; give the vocabulary it is of"),
        ({"item": ["a", "b"], "code0": [0, 1]}, "are string, no ids; give their vocabulary"),
        (None, "cannot be read as a Parquet file"),
    ],
)
def test_code_files_that_cannot_be_meant(tmp_path, columns, said):
    path = tmp_path / "codes.parquet"
    if columns is None:
        path.write_bytes(b"no Parquet")
    else:
        pq.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=f"SemanticIdTable 'item': .*{said}"):
        SemanticIdTable("item", 6, 8, codes=CodeFile(str(path)))


def test_codes_of_other_items_name_the_vocabulary(files, tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "value": ["x", "y"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"no item of .* is a value of '.*other\.parquet'; it is of other data"):
        SemanticIdTable("item", 6, 8, codes=CodeFile(files[0], str(tmp_path / "other.parquet")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codes": CodeFile("nowhere.parquet")}, "StoredCodes"),
        ({"codes": CODES, "adaptation": NGrams(3)}, "length must divide the number of levels 4, got 3"),
        ({"codes": CODES, "adaptation": Prefixes(5)}, "at most the number of levels 4, got 5"),
        ({"codes": CODES, "num_codes": 2}, "num_codes=2"),
        ({"codes": torch.tensor([[-1] * 6, [0] * 6])}, "follows a missing one"),
        ({"codes": RandomCodes(2, 9), "num_codes": 9}, "go with a tensor"),
        ({"codes": CODES, "num_rows": 2}, "num_rows must be in"),
        ({"codes": CODES, "num_rows": 9, "budget_bytes": 999}, "exactly one of"),
        ({"codes": RandomCodes(4, 2048)}, "one row for each piece would be"),
        ({"codes": CODES[:, :5]}, "num_embeddings=6"),
        ({"codes": CODES, "counts": torch.ones(6).long(), "adaptation": AllBigrams()}, "counts go with Prefixes"),
        ({"codes": CODES, "counts": torch.ones(5).long()}, r"counts must be \[num_embeddings=6\], got \[5\]"),
        ({"codes": CODES, "counts": torch.ones(6)}, "counts must be whole numbers at least 0"),
        ({"codes": CODES, "counts": torch.tensor([1, 1, 1, 1, 1, -1])}, "counts must be whole numbers at least 0"),
        ({"codes": CODES, "counts": "nowhere.parquet"}, "it is counts/NAME.parquet"),
        ({"codes": StoredCodes(4, 3), "counts": torch.ones(6).long()}, "have been heard in the codes of a checkpoint"),
    ],
)
def test_mistakes_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        SemanticIdTable("item", 6, 8, **change)


def test_a_checkpoint_has_the_codes_and_other_codes_are_refused(files):
    trained = Embedding(SemanticIdTable("item", 6, 8, codes=CodeFile(*files)))
    state = trained.state_dict()
    alone = Embedding(SemanticIdTable("item", 6, 8, codes=StoredCodes(2, 9)))
    alone.load_state_dict(state)
    assert torch.equal(alone(torch.arange(6)), trained(torch.arange(6)))
    others = torch.tensor([[-1, 3, 0, 5, 1, -1], [-1, 0, -1, 5, 3, -1]])
    more = Embedding(SemanticIdTable("item", 6, 8, codes=others, num_codes=9))
    more.load_state_dict(state)
    known = torch.tensor([0, 1, 2, 4, 5])
    assert torch.equal(more(known), trained(known))
    assert more.table.rows_of(torch.tensor([3])).min() >= 0, "an item without codes may have got some"
    others[1, 4] = 4
    with pytest.raises(RuntimeError, match="1 ids have other codes in the checkpoint than here, the first is 4"):
        Embedding(SemanticIdTable("item", 6, 8, codes=others, num_codes=9)).load_state_dict(state)


@pytest.mark.parametrize("codes", ["file", RandomCodes(2, 9)], ids=str)
def test_a_description_builds_the_table_again_without_the_file(files, codes):
    source = CodeFile(*files) if codes == "file" else codes
    table = SemanticIdTable("item", 6, 8, codes=source, adaptation=Prefixes(2), num_rows=30)
    collection = TableCollection([Feature("item", "item")], {"item": table})
    state = {f"item.{name}": value for name, value in table.state_dict().items()}
    again = build_collection(describe_collection(collection), state=state)
    trained = collection.state_dict()
    again.load_state_dict({name: trained[name] for name in again.state_dict()})
    ids = torch.arange(6).unsqueeze(0)
    assert torch.equal(again(ids), collection(ids))


def test_two_features_with_codes_of_their_own_are_routed_together():
    tables = {name: table_of(CODES.roll(place, 1), name) for place, name in enumerate("ab")}
    collection = TableCollection([Feature(name, name) for name in "ab"], tables)
    assert len(collection.groups) == 1
    ids = torch.tensor([[0, 1, 5], [2, 3, 4]])
    expected = [Embedding(tables[name])(own) for name, own in zip("ab", ids, strict=True)]
    torch.testing.assert_close(collection(ids), torch.stack(expected, 1))

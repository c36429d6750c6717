"""Pieces of codes: what SentencePiece makes of impressions, and its traps."""

import numpy as np
import polars as pl
import pytest

from recsys.prepare.programs.semantic_ids import main
from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.impressions import counts_of
from recsys.prepare.semantic.pieces import fit_pieces
from recsys.prepare.semantic.published import read_published

sentencepiece = pytest.importorskip("sentencepiece")


def made_codes(num_items=400, num_codes=8, levels=4, seed=0):
    values = np.random.default_rng(seed).integers(0, num_codes, (num_items, levels))
    return Codes(pl.Series([f"i{n}" for n in range(num_items)]), values, num_codes)


@pytest.mark.parametrize(("model_type", "most"), [("unigram", 1.6), ("bpe", 1.2)])
def test_popular_items_become_one_piece_and_every_item_keeps_its_codes(model_type, most):
    codes = made_codes()
    counts = (10_000 / np.arange(1, 401) ** 1.5).astype(np.int64)
    pieces = fit_pieces(codes, counts, 200, model_type)
    cut = pieces.codes(codes)
    lengths = (cut.values >= 0).sum(1)
    assert lengths[:5].tolist() == [1] * 5, "pieces of one character only"
    assert np.average(lengths, weights=counts) < most
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces.model)
    for row in range(400):
        text = "".join(processor.id_to_piece(int(piece)) for piece in cut.values[row] if piece >= 0)
        spelt = [ord(each) - 0x4E00 for each in text]
        assert spelt == [level * 8 + code for level, code in enumerate(codes.values[row])]


@pytest.mark.parametrize("other", [{"levels": 3}, {"levels": 5}, {"num_codes": 4}, {"num_codes": 16}])
def test_pieces_of_codes_of_other_sizes_are_refused(other):
    pieces = fit_pieces(made_codes(), np.ones(400, dtype=np.int64), 60, "bpe")
    with pytest.raises(ValueError, match=r"pieces are made of 4 levels of 8 codes, got \d levels of \d+; give codes"):
        pieces.codes(made_codes(40, **other))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_codes_that_no_impression_has_are_pieces_too(model_type):
    codes = made_codes()
    counts = np.zeros(400, dtype=np.int64)
    counts[:30] = 100
    pieces = fit_pieces(codes, counts, 100, model_type)
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces.model)
    cut = pieces.codes(codes)
    assert processor.unk_id() not in cut.values
    assert processor.get_piece_size() <= 100


def test_items_without_codes_have_no_pieces():
    codes = made_codes(20)
    values = codes.values.copy()
    values[7] = -1
    holes = Codes(codes.items, values, 8)
    cut = fit_pieces(holes, np.full(20, 5), 60, "bpe").codes(holes)
    assert (cut.values[7] == -1).all()
    assert (cut.values[8] >= 0).any()


def test_counts_are_joined_by_value(tmp_path):
    pl.DataFrame({"id": [0, 1, 2], "count": [9, 5, 3]}).write_parquet(tmp_path / "counts.parquet")
    pl.DataFrame({"id": [1, 2], "value": ["007", "7"]}).write_parquet(tmp_path / "vocabulary.parquet")
    items = pl.Series(["7", "007", "x"])
    found = counts_of(items, tmp_path / "counts.parquet", tmp_path / "vocabulary.parquet")
    assert found.tolist() == [3, 5, 0]
    assert counts_of(pl.Series([2, 0]), tmp_path / "counts.parquet", None).tolist() == [3, 9]


def test_the_program_makes_and_extends_pieces(tmp_path):
    codes = made_codes(60)
    codes.write(tmp_path / "codes.parquet")
    more = made_codes(80)
    Codes(more.items, np.concatenate([codes.values, more.values[60:]]), 8).write(tmp_path / "more.parquet")
    pl.DataFrame({"id": range(60), "count": range(60, 0, -1)}).write_parquet(tmp_path / "counts.parquet")
    pl.DataFrame({"id": range(60), "value": [f"i{n}" for n in range(60)]}).write_parquet(tmp_path / "v.parquet")
    words = ["--method", "pieces", "--from", str(tmp_path / "codes.parquet"), "--codes", "60"]
    words += ["--counts", str(tmp_path / "counts.parquet"), "--vocabulary", str(tmp_path / "v.parquet")]
    main([*words, "--out", str(tmp_path / "p")])
    old = read_published(tmp_path / "p").codes
    main(["--extend", str(tmp_path / "p"), "--from", str(tmp_path / "more.parquet"), "--out", str(tmp_path / "q")])
    new = read_published(tmp_path / "q").codes
    assert len(new.items) == 80
    assert np.array_equal(new.values[:60], old.values)
    assert (new.values[60:, 0] >= 0).all()


def test_an_alphabet_that_is_too_large_is_refused():
    codes = Codes(pl.Series(["a"]), np.zeros((1, 3), np.int64), 8_192)
    with pytest.raises(ValueError, match="24576 characters"):
        fit_pieces(codes, np.ones(1, np.int64), 30_000, "unigram")

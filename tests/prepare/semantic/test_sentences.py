"""Texts by a sentence-transformers model: a stand-in with the package's interface, since the package is not needed."""

import hashlib
import sys
import types

import numpy as np
import polars as pl
import pytest

from recsys.prepare.programs import semantic_ids
from recsys.prepare.semantic.published import read_published

DIM = 6
TEXTS = ["red lipstick", "red nail lacquer", None, "  ", *[f"blue thing {number}" for number in range(12)]]


class StandIn:
    """Vectors of words that depend on the words and the model's folder alone."""

    def __init__(self, path, *, local_files_only):
        assert local_files_only
        self._name = path.rsplit("/", 1)[-1]

    def encode(self, texts, *, batch_size, normalize_embeddings, convert_to_numpy, show_progress_bar):
        assert normalize_embeddings
        assert convert_to_numpy
        assert not show_progress_bar
        rows = np.stack([sum(self._vector(word) for word in text.split()) for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _vector(self, word):
        digest = hashlib.sha256(f"{self._name} {word}".encode()).digest()
        return np.frombuffer(digest[:DIM], np.uint8).astype(np.float64) - 127.5


@pytest.fixture
def items(tmp_path):
    """A file of items, and two folders that stand for models."""
    path = tmp_path / "items.parquet"
    pl.DataFrame({"item": range(len(TEXTS)), "title": TEXTS}).write_parquet(path)
    for name in ("model", "other"):
        (tmp_path / name).mkdir()
    return path


@pytest.fixture
def package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=StandIn))


def run(*words):
    return semantic_ids.make(semantic_ids.parser().parse_args([str(word) for word in words]))


def test_texts_are_encoded_and_new_items_by_the_same_model(items, package, tmp_path):
    encoder = ["--encoder", tmp_path / "model"]
    made = run("--items", items, "--text", "title", *encoder, "--codes", 4, "--levels", 2, "--out", tmp_path / "codes")
    assert made.vectors.values.shape == (len(TEXTS) - 2, DIM)
    np.testing.assert_allclose(np.linalg.norm(made.vectors.values, axis=1), 1, rtol=1e-6)
    assert (made.codes.values[2:4] == -1).all()
    more = pl.concat([pl.read_parquet(items), pl.DataFrame({"item": [99], "title": ["red lipstick"]})])
    more.write_parquet(tmp_path / "more.parquet")
    extend = ["--extend", tmp_path / "codes", "--items", tmp_path / "more.parquet"]
    grown = run(*extend, "--out", tmp_path / "grown")
    assert np.array_equal(grown.codes.values[:-1], made.codes.values)
    assert np.array_equal(grown.codes.values[-1], made.codes.values[0])
    assert read_published(tmp_path / "grown").settings["content"]["encoder"] == str(tmp_path / "model")
    with pytest.raises(ValueError, match="is another model than the one that the codes were made with"):
        run(*extend, "--encoder", tmp_path / "other", "--out", tmp_path / "wrong")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "title", "--encoder", "none"], "--encoder: folder 'none' does not exist"),
        (["--text", "title", "--encoder", "{model}", "--text-dim", "5"], "--text-dim does nothing with --encoder"),
        (["--vectors", "title", "--encoder", "{model}"], "--encoder does nothing without --text"),
        (["--vectors", "title", "--text-dim", "5"], "--text-dim does nothing without --text"),
        (["--method", "random", "--encoder", "{model}"], "--encoder does nothing with --method random"),
    ],
)
def test_mistakes_are_named(items, package, tmp_path, words, message):
    words = [word.format(model=tmp_path / "model") for word in words]
    with pytest.raises(ValueError, match=message):
        run("--items", items, *words, "--out", tmp_path / "codes")


def test_a_missing_package_is_named(items, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match="--encoder needs the package; pip install sentence-transformers"):
        run("--items", items, "--text", "title", "--encoder", tmp_path / "model", "--out", tmp_path / "codes")

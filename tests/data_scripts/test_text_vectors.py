"""Text vectors: alike texts lie together, rows stand at their ids, and the reduction is the best of its rank."""

import numpy as np
import polars as pl
import pytest
import text_vectors

TEXTS = ["red nail polish", "nail polish remover", "dry shampoo", "shampoo for dry hair", ""]


def test_alike_texts_lie_together_and_ids_find_their_rows(tmp_path):
    frame = pl.DataFrame({"item": [2, 5, 1, 3, 6], "text": [*TEXTS[:3], None, None], "more": [None] * 3 + TEXTS[3:]})
    frame.write_parquet(tmp_path / "items.parquet")
    out = tmp_path / "text.npy"
    command = ["--items", str(tmp_path / "items.parquet"), "--text", "text", "more", "--dims", "3", "--out", str(out)]
    text_vectors.main(command)
    rows = np.load(out, allow_pickle=False)
    assert rows.shape == (7, 3)
    assert rows.dtype == np.float32
    assert not rows[[0, 4, 6]].any()
    assert rows[2] @ rows[5] > 3 * abs(rows[2] @ rows[1])
    assert rows[1] @ rows[3] > 3 * abs(rows[5] @ rows[3])
    assert np.mean(np.square(rows[[2, 5, 1, 3, 6]])) == pytest.approx(1.0, rel=1e-5)


def test_the_reduction_equals_a_singular_value_decomposition():
    matrix = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    left, values, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    reduced = text_vectors.reduce(matrix, 3)
    np.testing.assert_allclose(np.abs(reduced), np.abs(left * values)[:, :3], rtol=1e-4, atol=1e-5)


def test_tf_idf_by_hand():
    counts = np.array([[1, 0, 2], [1, 1, 0], [0, 0, 0]], np.float32)
    weights = np.log1p(counts) * np.log(4 / (1 + np.array([2, 1, 1])))
    expected = np.zeros_like(weights)
    for row in (0, 1):
        expected[row] = weights[row] / np.sqrt((weights[row] ** 2).sum())
    np.testing.assert_allclose(text_vectors.tf_idf(counts), expected, rtol=1e-5)


@pytest.mark.parametrize(("ids", "dims"), [([1, 1], 2), ([0, 1], 2), ([1, 2], 9)])
def test_mistakes_are_named(ids, dims):
    with pytest.raises(ValueError, match="must be"):
        text_vectors.text_vectors(np.array(ids), ["a", "b"], dims, 8)

"""Quantisers called from Python with what cannot be meant, a line each, and what the sentence must name."""

import re

import numpy as np
import polars as pl
import pytest

from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.content import Vectors
from recsys.prepare.semantic.pieces import fit_pieces
from recsys.prepare.semantic.residual_kmeans import fit_residual_kmeans
from recsys.semantic_ids.rq_vae import RQVAESettings, fit_rq_vae

VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
BROKEN = VECTORS.copy()
BROKEN[3, 1] = np.nan
SMALL = RQVAESettings(hidden_dims=(8,), latent_dim=4, num_steps=2)
FITS = {"fit_residual_kmeans": fit_residual_kmeans, "fit_rq_vae": fit_rq_vae}


def items(num_items):
    return pl.Series("item", [f"i{n}" for n in range(num_items)])


def fitted(kind):
    return fit_rq_vae(VECTORS, 2, 4, 0, SMALL) if kind == "fit_rq_vae" else fit_residual_kmeans(VECTORS, 2, 4, 0)


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((VECTORS.tolist(), 2, 4), "vectors must be a numpy array [M, T] of numbers, got list"),
        ((VECTORS[0], 2, 4), "vectors must be a numpy array [M, T] of numbers, got [6] of float32"),
        ((VECTORS.astype(str), 2, 4), "vectors must be a numpy array [M, T] of numbers, got [40, 6] of <U"),
        ((BROKEN, 2, 4), "vectors must be finite in float32, and row 3 is not"),
        ((VECTORS.astype(np.float64) * 1e300, 2, 4), "vectors must be finite in float32, and row 0 is not"),
        ((VECTORS * 1e30, 2, 4), "row "),
        ((VECTORS, 0, 4), "num_levels must be a whole number of at least 1, got 0"),
        ((VECTORS, 2.5, 4), "num_levels must be a whole number of at least 1, got 2.5"),
        ((VECTORS, 2, True), "num_codes must be a whole number of at least 1, got True"),
    ],
)
def test_what_is_no_matrix_or_no_size(kind, arguments, named):
    with pytest.raises(ValueError, match=re.escape(f"{kind}: {named}")):
        FITS[kind](*arguments, 0)


@pytest.mark.parametrize("kind", FITS)
def test_other_types_of_the_same_numbers_have_the_same_codes(kind):
    whole = np.round(VECTORS * 9)
    settings = (SMALL,) if kind == "fit_rq_vae" else ()
    found = [
        FITS[kind](values, 2, 4, 0, *settings).codes(Vectors(items(40), values)).values
        for values in (whole, whole.astype(np.float64), whole.astype(np.int32), np.asfortranarray(whole))
    ]
    assert all(np.array_equal(found[0], each) for each in found)


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize(
    ("codes", "named"),
    [
        ([[0, 1]], "codes must be a numpy array [M, 2] of whole numbers"),
        (np.array([[0, -1]]), "codes must be in [0, 4), got -1; leave out items without codes"),
        (np.array([[0, 4]]), "codes must be in [0, 4), got 4"),
        (np.array([[0, 1, 2]]), "codes must be [M, 2], got [1, 3]"),
        (np.array([[0.0, 1.0]]), "codes must be a numpy array [M, 2] of whole numbers"),
    ],
)
def test_codes_that_stand_for_nothing(kind, codes, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        fitted(kind).rebuilt(codes)


@pytest.mark.parametrize("kind", FITS)
def test_vectors_that_have_no_codes(kind):
    quantiser = fitted(kind)
    with pytest.raises(ValueError, match="vectors must be finite in float32, and row 3 is not"):
        quantiser.codes(Vectors(items(40), BROKEN))
    with pytest.raises(ValueError, match=r"vectors must be \[M, 6\], got \[40, 5\]"):
        quantiser.codes(Vectors(items(40), VECTORS[:, :5]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0"),
        ({"revive_steps": 0}, "revive_steps must be a whole number of at least 1, got 0"),
        ({"num_steps": -1}, "num_steps must be a whole number of at least 1, got -1"),
        ({"hidden_dims": (8, 0)}, r"hidden_dims\[1\] must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.0}, "batch_size must be int, got 2.0"),
        ({"commitment": float("nan")}, "commitment must be at least 0 and finite, got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_train_nothing(settings, named):
    with pytest.raises(ValueError, match=f"RQVAESettings: {named}"):
        RQVAESettings(**settings)


def test_a_rate_that_no_training_survives():
    settings = RQVAESettings(hidden_dims=(8,), latent_dim=4, num_steps=30, learning_rate=1e30)
    with pytest.raises(ValueError, match=r"has not stayed finite; lower RQVAESettings.learning_rate=1e\+30"):
        fit_rq_vae(VECTORS, 2, 4, 0, settings)


def test_counts_of_other_items():
    codes = Codes(items(3), np.array([[0], [1], [0]]), 2)
    with pytest.raises(ValueError, match=r"counts must be \[3\], one for every item, got \[2\]"):
        fit_pieces(codes, np.array([1, 2]), 8, "bpe")

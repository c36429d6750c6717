"""The residual quantiser against its equations, and an RQ-VAE that learns."""

import numpy as np
import polars as pl
import pytest
import torch

from recsys.prepare.semantic.content import Vectors
from recsys.semantic_ids.residual_quantiser import ResidualQuantiser
from recsys.semantic_ids.rq_vae import RQVAESettings, TrainedRQVAE, fit_rq_vae

SMALL = RQVAESettings(
    hidden_dims=(32, 16), latent_dim=8, batch_size=64, num_steps=200, revive_steps=10, learning_rate=3e-3
)


def quantiser(num_levels=3, num_codes=5, dim=4):
    made = ResidualQuantiser(num_levels, num_codes, dim)
    torch.nn.init.normal_(made.books, generator=torch.Generator().manual_seed(0))
    return made


def test_each_level_codes_what_is_left():
    made, vectors = quantiser(), torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    found = made(vectors)
    for row, vector in enumerate(vectors.double()):
        left, total = vector.clone(), torch.zeros(4, dtype=torch.double)
        for level, book in enumerate(made.books.double()):
            own = int((book - left).square().sum(1).argmin())
            assert own == int(found.codes[row, level])
            left, total = left - book[own], total + book[own]
        torch.testing.assert_close(found.vectors[row].double(), total, atol=1e-5, rtol=1e-5)


def test_every_level_draws_the_encoder_and_gradients_pass_straight_through():
    made = quantiser()
    vectors = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = made(vectors)
    (pulled,) = torch.autograd.grad(found.loss, vectors, retain_graph=True)
    left, expected = vectors.detach().clone(), torch.zeros(20, 4)
    for level, book in enumerate(made.books.detach()):
        chosen = book[found.codes[:, level]]
        expected += 2 * 0.25 * (left - chosen) / 20
        left = left - chosen
    torch.testing.assert_close(pulled, expected)
    (passed,) = torch.autograd.grad(found.vectors.sum(), vectors)
    torch.testing.assert_close(passed, torch.ones(20, 4))


def test_distances_are_float32_under_autocast():
    made, vectors = quantiser(1, 64), torch.randn(200, 4) * 0.01
    made.books.data.mul_(0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(vectors)
    assert torch.equal(found.codes, made(vectors).codes)


def test_codes_that_nothing_chooses_are_revived():
    made = quantiser(2, 8)
    made.books.data[:, 5:] = 1e4
    vectors = torch.randn(300, 4)
    found = made(vectors)
    moved = made.revive(found.residuals, torch.Generator().manual_seed(0))
    assert all(own[5:].all() for own in moved)
    residuals = found.residuals[1]
    for code in moved[1].nonzero().squeeze(1):
        assert (residuals == made.books[1, code]).all(1).any()
    made(vectors)
    assert not any(own[5:].any() for own in made.revive(found.residuals, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((12, 10)) * 3
    return (kinds[np.arange(480) % 12] + rng.standard_normal((480, 10)) * 0.3).astype(np.float32)


def test_an_rq_vae_rebuilds_vectors_and_uses_its_codes(vectors):
    trained = fit_rq_vae(vectors, 2, 16, 0, SMALL)
    codes = trained.codes(Vectors(pl.Series(range(480)), vectors))
    error = ((trained.rebuilt(codes.values) - vectors) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum()
    assert error < 0.3
    assert all(len(np.unique(column)) >= 10 for column in codes.values.T)


def test_the_seed_decides_and_files_hold_all(vectors):
    items = Vectors(pl.Series(range(480)), vectors)
    first, again, other = (fit_rq_vae(vectors, 2, 16, seed, SMALL) for seed in (0, 0, 1))
    codes = first.codes(items)
    assert np.array_equal(codes.values, again.codes(items).values)
    assert not np.array_equal(codes.values, other.codes(items).values)
    loaded = TrainedRQVAE.of_arrays(first.arrays())
    assert np.array_equal(codes.values, loaded.codes(items).values)
    np.testing.assert_allclose(first.rebuilt(codes.values), loaded.rebuilt(codes.values), rtol=1e-5, atol=1e-5)

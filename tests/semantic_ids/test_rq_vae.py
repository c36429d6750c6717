"""The residual quantiser against its equations, and an RQ-VAE that learns."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recsys.prepare.semantic.content import Vectors
from recsys.semantic_ids.averaged_quantiser import AveragedQuantiser
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


def test_averages_are_those_of_the_equations():
    """Three steps against loops in float64, over the codes that were chosen."""
    made = AveragedQuantiser(2, 4, 3, decay=0.8)
    generator = torch.Generator().manual_seed(0)
    made.start(torch.randn(40, 3, generator=generator), 0)
    books = made.books.double()
    counts, sums = torch.ones(2, 4, dtype=torch.double), books.clone()
    for _ in range(3):
        vectors = torch.randn(30, 3, generator=generator).requires_grad_()
        found = made(vectors)
        left, commitment = vectors.detach().double(), 0.0
        for level in range(2):
            chosen = torch.zeros(4, dtype=torch.double)
            given = torch.zeros(4, 3, dtype=torch.double)
            after = left.clone()
            for row in range(30):
                own = int((books[level] - left[row]).square().sum(1).argmin())
                assert own == found.codes[row, level]
                chosen[own] += 1
                given[own] += left[row]
                after[row] = left[row] - books[level, own]
                commitment += 0.25 * float(after[row].square().sum()) / 30
            counts[level] = 0.8 * counts[level] + 0.2 * chosen
            sums[level] = 0.8 * sums[level] + 0.2 * given
            smoothed = (counts[level] + 1e-5) / (counts[level].sum() + 4e-5) * counts[level].sum()
            books[level] = sums[level] / smoothed[:, None]
            left = after
        torch.testing.assert_close(made.books.double(), books, atol=1e-5, rtol=1e-5)
        assert found.loss.item() == pytest.approx(commitment, rel=1e-5)
        assert torch.autograd.grad(found.loss, vectors)[0].abs().sum() > 0


def test_averaged_codes_that_hardly_anything_chooses_are_revived():
    made = AveragedQuantiser(1, 8, 4, decay=0.5)
    made.start(torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), 0)
    made.get_buffer("sums")[0, 5:] = 1e4
    made.books[0, 5:] = 1e4
    vectors = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(5):  # a count halves with each step that leaves a code out
        found = made(vectors)
    (moved,) = made.revive(found.residuals, torch.Generator().manual_seed(0))
    assert moved.tolist() == [False] * 5 + [True] * 3
    for code in range(5, 8):
        assert (vectors == made.books[0, code]).all(1).any()
    used = made(vectors).codes.unique()
    assert set(range(5, 8)) <= set(used.tolist())
    assert made.books.isfinite().all()
    assert made.books.abs().max() < 10


def test_a_decay_that_is_no_fraction_is_refused():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        AveragedQuantiser(1, 8, 4, decay=1.0)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((12, 10)) * 3
    return (kinds[np.arange(480) % 12] + rng.standard_normal((480, 10)) * 0.3).astype(np.float32)


@pytest.mark.parametrize("ema_decay", [None, 0.95])
def test_an_rq_vae_rebuilds_vectors_and_uses_its_codes(vectors, ema_decay):
    trained = fit_rq_vae(vectors, 2, 16, 0, replace(SMALL, ema_decay=ema_decay))
    codes = trained.codes(Vectors(pl.Series(range(480)), vectors))
    error = ((trained.rebuilt(codes.values) - vectors) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum()
    assert error < 0.3
    assert all(len(np.unique(column)) >= 10 for column in codes.values.T)


@pytest.mark.parametrize("ema_decay", [None, 0.95])
def test_the_seed_decides_and_files_hold_all(vectors, ema_decay):
    items, settings = Vectors(pl.Series(range(480)), vectors), replace(SMALL, ema_decay=ema_decay)
    first, again, other = (fit_rq_vae(vectors, 2, 16, seed, settings) for seed in (0, 0, 1))
    codes = first.codes(items)
    assert np.array_equal(codes.values, again.codes(items).values)
    assert not np.array_equal(codes.values, other.codes(items).values)
    loaded = TrainedRQVAE.of_arrays(first.arrays())
    assert np.array_equal(codes.values, loaded.codes(items).values)
    np.testing.assert_allclose(first.rebuilt(codes.values), loaded.rebuilt(codes.values), rtol=1e-5, atol=1e-5)

"""Integer hashes against published outputs and Python's unbounded integers."""

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tables.routing.hashes import (
    bucket,
    expected_collisions,
    expected_sum_collisions,
    fnv1a64,
    hashed_uniform,
    mix64,
    name_seed,
    name_seeds,
)

MASK = (1 << 64) - 1
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def slow_mix64(value: int, seed: int) -> int:
    state = (value + seed + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_mix64_gives_splitmix64_s_golden_outputs():
    values = torch.tensor([0, 1, 2, 1234567, 2**63 - 1])
    golden = ["e220a8397b1dcdaf", "910a2dec89025cc1", "975835de1c9756ce", "599ed017fb08fc85", "2a67d7552e039ea7"]
    assert [f"{value & MASK:016x}" for value in mix64(values).tolist()] == golden


def test_fnv1a64_golden():
    assert f"{fnv1a64('C1'):016x}" == "090f7f07b5a73a39"


@given(value=INT64, seed=INT64)
def test_mix64_equals_unbounded_integers(value, seed):
    assert mix64(torch.tensor([value]), seed).item() & MASK == slow_mix64(value, seed)


@given(value=INT64, seed=INT64, num_buckets=st.integers(1, 1 << 31))
def test_bucket_is_the_multiply_shift_of_the_high_bits(value, seed, num_buckets):
    expected = ((slow_mix64(value, seed) >> 32) * num_buckets) >> 32
    assert bucket(torch.tensor([value]), seed, num_buckets).item() == expected
    assert expected < num_buckets


@given(values=st.lists(st.tuples(INT64, INT64), min_size=1, max_size=3), width=st.sampled_from([1, 5, 40_000]))
@settings(deadline=None, max_examples=30)
def test_numbers_of_a_hash_are_its_upper_24_bits(values, width):
    ids, seeds = (torch.tensor(each).unsqueeze(1) for each in zip(*values, strict=True))
    found = hashed_uniform(ids, seeds, width)
    assert found.shape == (len(values), 1, width)
    for row, (value, seed) in zip(found.squeeze(1), values, strict=True):
        for column in {0, width // 2, width - 1}:
            assert row[column].item() == (slow_mix64(slow_mix64(value, seed), column) >> 40) / 2**23 - 1


def test_buckets_are_uniform():
    counts = torch.bincount(bucket(torch.arange(2_000_000), name_seed("C1"), 1_000), minlength=1_000).double()
    chi_square = ((counts - 2_000).square() / 2_000).sum().item()
    assert chi_square / 999 == pytest.approx(1, abs=0.25)


def test_two_probes_are_independent():
    ids = torch.arange(1_000_000)
    first, second = (bucket(ids, seed, 1 << 20) for seed in name_seeds("C1", 2))
    pairs = first * (1 << 20) + second
    assert 1_000_000 - pairs.unique().numel() <= 6, "about 0.45 pairs of ids should meet in both"


def test_seeds_depend_on_the_name_and_the_probe_alone():
    # Made with Python's whole numbers: splitmix64 of FNV-1a of the name, xor the golden ratio times the probe.
    assert name_seeds("C1", 2) == [2453331133819186025, 7529398212443403337]
    assert name_seed("item", 7) == 8580952726884037327
    assert name_seeds("C1", 3)[:2] == name_seeds("C1", 2)
    assert len({*name_seeds("C1", 8), *name_seeds("C2", 8)}) == 16


@pytest.mark.parametrize("num_rows", [[500], [40, 50], [1]])
def test_expected_collisions_against_simulation(num_rows):
    observed = []
    for seed in range(20):
        rows = [bucket(torch.arange(1_000), seed * 100 + probe, rows) for probe, rows in enumerate(num_rows)]
        observed.append(1_000 - torch.stack(rows, 1).unique(dim=0).shape[0])
    assert expected_collisions(1_000, num_rows) == pytest.approx(sum(observed) / 20, rel=0.03)


@given(num_rows=st.integers(1, 6), num_lookups=st.integers(1, 4), num_ids=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_expected_sum_collisions_are_those_of_all_cases(num_rows, num_lookups, num_ids):
    """Over all equally likely tuples of rows of one id: how likely each sum is, and so how many are taken."""
    sums = Counter(tuple(sorted(rows)) for rows in product(range(num_rows), repeat=num_lookups))
    total = num_rows**num_lookups
    distinct = sum(1 - (1 - count / total) ** num_ids for count in sums.values())
    found = expected_sum_collisions(num_ids, num_rows, num_lookups)
    assert found == pytest.approx(num_ids - distinct, abs=1e-9)


def test_expected_sum_collisions_of_two_rows_golden():
    assert round(expected_sum_collisions(1_000, 40, 2)) == 425
    assert expected_sum_collisions(1_000, 1_000, 1) == pytest.approx(expected_collisions(1_000, [1_000]))

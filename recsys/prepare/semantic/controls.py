"""Codes that mean nothing, of the same shape: what semantic ids must beat."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.prepare.semantic.codes import Codes


def random_codes(items: pl.Series, num_levels: int, num_codes: int, seed: int) -> Codes:
    """Codes drawn for each item on its own: a hashed table by another name."""
    values = np.random.default_rng(seed).integers(0, num_codes, (len(items), num_levels))
    return Codes(items, values, num_codes)


def shuffled_codes(codes: Codes, seed: int) -> Codes:
    """The same codes, dealt out anew among the items that have some: every statistic stays, the meaning goes."""
    values = codes.values.copy()
    values[codes.has_codes] = np.random.default_rng(seed).permutation(values[codes.has_codes])
    return Codes(codes.items, values, codes.num_codes)

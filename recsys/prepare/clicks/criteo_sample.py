"""Write a GENERATED file in Criteo's raw layout, with a signal that a model can learn.

Category ids follow Zipf's law. The log-odds of a click are a sum of an effect of each value, of products of
two-dimensional factors of neighbouring categories (which a linear model cannot see), and of a humped function of each
whole number. Nothing in it is taken from Criteo's data.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.clicks.criteo_rows import CATEGORIES, INTEGERS, LABEL

CHUNK_ROWS = 1 << 16
NUM_VALUES = np.geomspace(8, 20_000, len(CATEGORIES)).astype(int)
MISSING_FRACTION = 0.05
BIAS = -2.5
MAIN_SCALE, PAIR_SCALE, DENSE_SCALE = 0.9, 0.5, 0.4


@dataclass(frozen=True)
class Signal:
    """What is planted.

    Attributes:
        names: Per category, the text of each value.
        effects: Per category, the effect of each value.
        factors: Per category, [num_values, 2] factors whose products with the next category's count.
        centers: [13] logarithm of the number with the greatest effect.
    """

    names: list[pl.Series]
    effects: list[NDArray[np.float64]]
    factors: list[NDArray[np.float64]]
    centers: NDArray[np.float64]


def draw_signal(rng: np.random.Generator) -> Signal:
    """Draw all effects."""
    codes = [rng.choice(2**32, size=count, replace=False) for count in NUM_VALUES]
    return Signal(
        names=[pl.Series([f"{code:08x}" for code in column.tolist()]) for column in codes],
        effects=[rng.normal(0, MAIN_SCALE, count) * _fading(count) for count in NUM_VALUES],
        factors=[rng.normal(0, PAIR_SCALE**0.5, (count, 2)) * _fading(count)[:, None] for count in NUM_VALUES],
        centers=rng.uniform(1, 4, len(INTEGERS)),
    )


def _fading(num_values: int) -> NDArray[np.float64]:
    """Return smaller scales for rarer values, which few rows could teach."""
    return np.arange(1.0, num_values + 1) ** -0.25


def write_sample(path: Path, num_rows: int, seed: int) -> None:
    """Write ``num_rows`` lines; the same arguments give the same bytes.

    Raises:
        ValueError: ``num_rows`` is below 10.
    """
    if num_rows < 10:
        raise ValueError(f"--sample must be at least 10 rows, got {num_rows}.")
    rng = np.random.default_rng(seed)
    signal = draw_signal(rng)
    with path.open("wb") as stream:
        for start in range(0, num_rows, CHUNK_ROWS):
            frame = _draw_rows(min(CHUNK_ROWS, num_rows - start), signal, rng)
            frame.write_csv(stream, separator="\t", include_header=False, quote_style="never")


def _draw_rows(num_rows: int, signal: Signal, rng: np.random.Generator) -> pl.DataFrame:
    ids = [zipf_ids(count, num_rows, rng) for count in NUM_VALUES]
    numbers = np.floor(np.exp(rng.normal(2, 1.5, (len(INTEGERS), num_rows)))).astype(np.int64)
    clicks = rng.random(num_rows) < 1 / (1 + np.exp(-_log_odds(ids, numbers, signal)))
    columns = {LABEL: pl.Series(clicks.astype(np.int8))}
    columns |= {name: pl.Series(row) for name, row in zip(INTEGERS, numbers, strict=True)}
    columns |= {name: signal.names[place].gather(ids[place]) for place, name in enumerate(CATEGORIES)}
    for name in (*INTEGERS, *CATEGORIES):
        present = pl.Series(rng.random(num_rows) >= MISSING_FRACTION)
        columns[name] = columns[name].zip_with(present, pl.Series([None], dtype=columns[name].dtype))
    return pl.DataFrame(columns)


def zipf_ids(num_values: int, num_rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ids below ``num_values`` where id i is about 1 / (i + 1) as frequent as id 0."""
    ranks = np.floor((num_values + 1) ** rng.random(num_rows)).astype(np.int64)
    return np.minimum(ranks, num_values) - 1


def _log_odds(ids: list[NDArray[np.int64]], numbers: NDArray[np.int64], signal: Signal) -> NDArray[np.float64]:
    log_odds = np.full(numbers.shape[1], BIAS)
    for column, chosen in zip(signal.effects, ids, strict=True):
        log_odds += column[chosen]
    factors = [column[chosen] for column, chosen in zip(signal.factors, ids, strict=True)]
    for left, right in itertools.pairwise(factors):
        log_odds += (left * right).sum(1)
    humps = np.exp(-((np.log(numbers + 1) - signal.centers[:, None]) ** 2)) - 0.5
    log_odds += 2 * DENSE_SCALE * humps.sum(0)
    return log_odds

"""How well codes are used, and how many items share theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.semantic.codes import Codes


@dataclass(frozen=True)
class LevelUse:
    """Use of one level's codes.

    Args:
        level: from 0.
        used: codes that some item has.
        dead: codes that none has.
        perplexity: exp of the entropy of the codes over the items; K if all are used alike.
        gini: of the items per code, 0 if all are used alike, near 1 if few have nearly all.
        num_prefixes: distinct codes up to this level.
        alone_fraction: items that share their codes up to this level with no other.
    """

    level: int
    used: int
    dead: int
    perplexity: float
    gini: float
    num_prefixes: int
    alone_fraction: float


@dataclass(frozen=True)
class CodesUse:
    """Use of codes.

    Args:
        num_items: all of them.
        num_without: items without codes.
        num_codes: K.
        levels: each on its own.
        aliased_items: items that share all their codes with another.
        largest_alias: items of the most common codes.
        reconstruction_error: mean squared distance of the vectors from what their codes stand for, over their
            variance; None where there are no vectors.
    """

    num_items: int
    num_without: int
    num_codes: int
    levels: list[LevelUse]
    aliased_items: int
    largest_alias: int
    reconstruction_error: float | None = None


def use_of(codes: Codes, reconstruction_error: float | None = None) -> CodesUse:
    """Measure codes; items without any count apart."""
    values = codes.values[codes.has_codes]
    levels, sizes = [], np.zeros(0, dtype=np.int64)
    for level in range(codes.num_levels):
        own = values[:, level][values[:, level] >= 0]
        counts = np.bincount(own, minlength=codes.num_codes)
        sizes = _prefix_sizes(values[:, : level + 1])
        alone = float((sizes == 1).sum() / len(values)) if len(values) else 0.0
        used = int((counts > 0).sum())
        levels.append(
            LevelUse(level, used, codes.num_codes - used, _perplexity(counts), _gini(counts), len(sizes), alone)
        )
    return CodesUse(
        num_items=len(codes.items),
        num_without=int((~codes.has_codes).sum()),
        num_codes=codes.num_codes,
        levels=levels,
        aliased_items=int(sizes[sizes > 1].sum()),
        largest_alias=int(sizes.max(initial=0)),
        reconstruction_error=reconstruction_error,
    )


def shared_prefixes(codes: Codes, level: int, num_groups: int, num_items: int) -> list[tuple[str, list[str]]]:
    """Examples of items with the same codes up to a level: of the largest groups, the codes and the first items."""
    names = [f"code{each}" for each in range(level + 1)]
    groups = (
        codes.frame()
        .drop_nulls(names)
        .group_by(names, maintain_order=True)
        .agg(pl.col("item").cast(pl.String).head(num_items).alias("first"), pl.len().alias("size"))
        .filter(pl.col("size") > 1)
        .sort("size", descending=True, maintain_order=True)
        .head(num_groups)
    )
    return [("-".join(str(row[name]) for name in names), row["first"]) for row in groups.iter_rows(named=True)]


def _prefix_sizes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Items of each distinct row."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    frame = pl.DataFrame(values, schema=[f"c{place}" for place in range(values.shape[1])])
    return frame.group_by(frame.columns).len()["len"].cast(pl.Int64).to_numpy()


def _perplexity(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def _gini(counts: NDArray[np.int64]) -> float:
    if not counts.sum():
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * (ranks * ordered).sum() / ordered.sum() - len(ordered) - 1) / len(ordered))

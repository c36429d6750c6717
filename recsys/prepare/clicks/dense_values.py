"""What becomes of numbers: a transform, fitted on the train rows and applied to all.

log is sign(x) log(1 + |x|); standardise is (x - mean) / std of train; bins are quantiles of train, which make the
column categorical; none is the number itself. A missing number becomes 0, which is the mean of a standardised column;
in bins it is id 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.clicks.row_split import TRAIN
from recsys.prepare.clicks.row_store import RowStore

Numbers = NDArray[np.float64]

TRANSFORMS = ("log", "standardise", "bins", "none")
_FLOAT32 = float(np.finfo(np.float32).max)
LARGEST = {"none": _FLOAT32, "log": 1e300, "standardise": _FLOAT32, "bins": 1e300}
"""Numbers beyond these cannot be kept as finite float32, or not be averaged."""
MOST_BINS = 10_000
MOST_SAMPLED = 1 << 22


@dataclass(frozen=True)
class DenseTransform:
    """A fitted transform.

    Attributes:
        kind: One of TRANSFORMS.
        mean: Of train, where standardised.
        std: Of train, where standardised.
        bounds: Rising; bin i + 1 begins at bounds[i].
        num_missing: Missing numbers of all rows it was fitted on.
        counts: Rows of train in each bin, from id 0.
        seen: The least and largest number of train; None where nobody knows.
        seen_before: The same, before the rows at hand.
        num_far: Numbers far outside.
        farthest: One of them.
    """

    kind: str
    mean: float = 0.0
    std: float = 1.0
    bounds: tuple[float, ...] = ()
    num_missing: int = 0
    counts: tuple[int, ...] = ()
    seen: tuple[float, float] | None = None
    seen_before: tuple[float, float] | None = None
    num_far: int = 0
    farthest: float = 0.0

    def apply(self, numbers: Numbers) -> NDArray[Any]:
        """Return float32 values, or int32 ids of bins."""
        missing = np.isnan(numbers)
        if self.kind == "bins":
            ids = 1 + np.searchsorted(np.array(self.bounds), numbers, side="right")
            return np.where(missing, 0, ids).astype(np.int32)
        if self.kind == "standardise":
            values = (numbers - self.mean) / self.std
        else:
            values = np.sign(numbers) * np.log1p(np.abs(numbers)) if self.kind == "log" else numbers
        return np.where(missing, 0.0, values).astype(np.float32)

    @property
    def num_embeddings(self) -> int:
        """Ids of bins, with id 0."""
        return len(self.bounds) + 2

    def bin_names(self) -> list[str]:
        """What bins 1, 2, ... hold."""
        return [f"from {bound!r}" for bound in (-np.inf, *self.bounds)]

    def as_json(self) -> dict[str, object]:
        """Return plain values for schema.json."""
        known: dict[str, dict[str, object]] = {
            "standardise": {"mean": self.mean, "std": self.std},
            "bins": {"bounds": list(self.bounds)},
        }
        seen = {} if self.seen is None else {"seen": list(self.seen)}
        return {"kind": self.kind, **known.get(self.kind, {}), **seen, "num_missing": self.num_missing}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> DenseTransform:
        """The inverse of as_json.

        Raises:
            ValueError: An entry is not as as_json writes it; the message names it.
        """
        _check_entry(entry)
        low, high = entry.get("seen", (None, None))
        seen = None if low is None else (low, high)
        return cls(
            entry["kind"], entry.get("mean", 0.0), entry.get("std", 1.0), tuple(entry.get("bounds", ())), seen=seen
        )


def _check_entry(entry: Mapping[str, Any]) -> None:
    """Refuse what no fit gives: numbers of such an entry decide what every later number becomes."""
    if entry.get("kind") not in TRANSFORMS:
        raise ValueError(f"its kind must be one of {', '.join(TRANSFORMS)}, got {entry.get('kind')!r}")
    needed = {"standardise": ("mean", "std"), "bins": ("bounds",)}.get(entry["kind"], ())
    for name in needed:
        if name not in entry:
            raise ValueError(f"it lacks its {name}")
    for name in ("mean", "std", "bounds", "seen"):
        if name not in entry:
            continue
        numbers = [entry[name]] if name in ("mean", "std") else entry[name]
        if not isinstance(numbers, list) or not all(map(_is_number, numbers)):
            raise ValueError(f"its {name} must be finite numbers, got {str(entry[name])[:80]}")
        lacking = (name == "std" and not numbers[0] > 0) or (name == "seen" and len(numbers) != 2)
        if lacking or numbers != sorted(numbers):
            raise ValueError(f"its {name} cannot be {str(entry[name])[:80]}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def parse_transform(words: str, where: str) -> str:
    """Check "log", "standardise", "none", "bins" or "bins:N".

    Raises:
        ValueError: It is none of them.
    """
    kind, _, number = words.partition(":")
    if kind not in TRANSFORMS or (number and kind != "bins"):
        raise ValueError(f"{where}: a dense column takes log, standardise, none or bins:N, got '{words}'.")
    if kind == "bins" and not (number == "" or (number.isdecimal() and 2 <= int(number) <= MOST_BINS)):
        raise ValueError(f"{where}: bins must be a number in [2, {MOST_BINS}], got '{number}'.")
    return f"bins:{number or 10}" if kind == "bins" else kind


def fit_transform(store: RowStore, name: str, words: str) -> DenseTransform:
    """Fit "log", "standardise", "none" or "bins:N" to the train rows of a column."""
    kind, _, number = words.partition(":")
    if kind == "bins":
        return DenseTransform(kind, bounds=_quantiles(store, name, int(number)))
    mean, std = _moments(store, name) if kind == "standardise" else (0.0, 1.0)
    return DenseTransform(kind, mean, std)


def counted(store: RowStore, name: str, fitted: DenseTransform) -> DenseTransform:
    """The transform with the missing numbers of all rows, and the train rows of each bin added to those it has."""
    counts = np.zeros(fitted.num_embeddings, dtype=np.int64)
    counts[: len(fitted.counts)] += np.array(fitted.counts, dtype=np.int64)
    num_missing = 0
    for numbers, in_train in _blocks(store, name):
        num_missing += int(np.isnan(numbers).sum())
        if fitted.kind == "bins":
            counts += np.bincount(fitted.apply(numbers[in_train]), minlength=len(counts))
    return replace(fitted, num_missing=num_missing, counts=tuple(counts.tolist()))


def _blocks(store: RowStore, name: str) -> Iterator[tuple[Numbers, NDArray[np.bool_]]]:
    for block in range(store.num_blocks):
        yield store.dense[name].read(block), store.splits.read(block) == TRAIN


def _moments(store: RowStore, name: str) -> tuple[float, float]:
    """Mean and standard deviation, block by block (Chan et al., 1983); 0 and 1 where there is nothing to divide by."""
    count, mean, squares, origin = 0, 0.0, 0.0, None
    for numbers, in_train in _blocks(store, name):
        known = numbers[in_train & ~np.isnan(numbers)]
        if not len(known):
            continue
        # From one of them on: sums of large numbers that are alike would round more than they differ.
        origin = float(known[0]) if origin is None else origin
        known = known - origin
        difference, total = float(known.mean()) - mean, count + len(known)
        squares += float(((known - known.mean()) ** 2).sum()) + difference**2 * count * len(known) / total
        mean, count = mean + difference * len(known) / total, total
    std = float(np.sqrt(squares / count)) if count else 0.0
    mean += origin or 0.0
    # What is one number but for rounding errors has nothing to divide by.
    return mean, std if std > 1e-12 * abs(mean) else 1.0


def _quantiles(store: RowStore, name: str, num_bins: int) -> tuple[float, ...]:
    """Distinct quantiles of the train rows; of more than 4,194,304, of evenly spaced ones."""
    num_train = sum(int(in_train.sum()) for _, in_train in _blocks(store, name))
    step = -(-num_train // MOST_SAMPLED)
    parts, first = [], 0
    for numbers, in_train in _blocks(store, name):
        chosen = numbers[in_train]
        parts.append(chosen[-first % step :: step] if step > 1 else chosen)
        first += len(chosen)
    known = np.concatenate([part[~np.isnan(part)] for part in parts]) if parts else np.empty(0)
    if not len(known):
        return ()
    bounds = np.unique(np.quantile(known, np.arange(1, num_bins) / num_bins, method="lower"))
    return tuple(bounds[bounds > known.min()].tolist())

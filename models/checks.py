"""Checks of constructor arguments, shared by the models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

MOST = 1 << 62
"""No number means anything beyond: torch could not take it as a size."""
MOST_LAYERS = 1_000


def check_sizes(model: str, num_features: int, embedding_dim: int, num_dense: int) -> None:
    """Check the three sizes every model is given.

    Raises:
        ValueError: a size is too small.
    """
    check_at_least(model, "num_features", num_features, 1)
    check_at_least(model, "embedding_dim", embedding_dim, 1)
    check_at_least(model, "num_dense", num_dense, 0)


def check_at_least(owner: str, name: str, value: float, smallest: float) -> None:
    """Check a count, or a number that has no upper bound but is finite.

    Raises:
        ValueError: the value is below the smallest allowed, NaN, infinite or beyond 2**62.
    """
    if not smallest <= value < math.inf:
        raise ValueError(f"{owner}: {name} must be at least {smallest}{_finite(value)}, got {value}.")
    check_at_most(owner, name, value, MOST)


def check_at_most(owner: str, name: str, value: float, largest: float) -> None:
    """Check a number that has an upper bound.

    Raises:
        ValueError: the value is above it.
    """
    if value > largest:
        raise ValueError(f"{owner}: {name} must be at most {largest}, got {value}.")


def check_depth(owner: str, name: str, value: int) -> None:
    """Check how many layers of a kind there are: so many that they would never be built are refused.

    Raises:
        ValueError: the number is below 1 or above 1,000.
    """
    check_at_least(owner, name, value, 1)
    check_at_most(owner, name, value, MOST_LAYERS)


def check_positive(owner: str, name: str, value: float) -> None:
    """Check a number above 0.

    Raises:
        ValueError: the value is not above 0, NaN or infinite.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{owner}: {name} must be above 0{_finite(value)}, got {value}.")
    check_at_most(owner, name, value, MOST)


def check_dropout(owner: str, dropout: float) -> None:
    """Check a probability of zeroing a value.

    Raises:
        ValueError: the value is outside [0, 1), or NaN.
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"{owner}: dropout must be in [0, 1), got {dropout}.")


def check_share(owner: str, name: str, value: float) -> None:
    """Check a part of a whole.

    Raises:
        ValueError: the value is outside [0, 1], or NaN.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{owner}: {name} must be in [0, 1], got {value}.")


def _finite(value: float) -> str:
    return "" if math.isfinite(value) else " and finite"


def check_dims(owner: str, name: str, dims: Sequence[int]) -> None:
    """Check the widths of a stack of layers.

    Raises:
        ValueError: a width is below 1.
    """
    if any(dim < 1 for dim in dims):
        raise ValueError(f"{owner}: every width in {name} must be at least 1, got {list(dims)}.")
    for dim in dims:
        check_at_most(owner, name, dim, MOST)


def check_activation(owner: str, activation: Callable[[], object]) -> None:
    """Check that an activation can be built without arguments.

    Raises:
        ValueError: it cannot.
    """
    try:
        activation()
    except (TypeError, NotImplementedError) as error:
        name = getattr(activation, "__name__", activation)
        raise ValueError(f"{owner}: activation must be built without arguments, as ReLU is; got {name}.") from error

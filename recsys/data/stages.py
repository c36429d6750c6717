"""The stages of a run, by Lightning's words."""

from __future__ import annotations

from collections.abc import Container


def require_stage(stage: str, known: Container[str]) -> None:
    """Refuse what is no stage.

    Raises:
        ValueError: naming it, and what there is.
    """
    if stage not in known:
        raise ValueError(f"setup: stage must be one of fit, validate, test, predict, got {stage!r}.")

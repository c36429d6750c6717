"""The next settings to try, from those tried: Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.comparison.spec import SearchRange


@dataclass(frozen=True)
class Trial:
    """Settings by key path, and the metric that they reached on validation; None if their run failed."""

    settings: Mapping[str, float]
    val: float | None


def suggest(
    ranges: Mapping[str, SearchRange], mode: str, trials: Sequence[Trial], count: int
) -> list[dict[str, float]]:
    """Settings of the next `count` trials.

    They follow from the trials alone, so that a search that was stopped goes on as if it had not been.

    Raises:
        ValueError: if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError("search needs Optuna: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds = optuna.study.StudyDirection
    states = optuna.trial.TrialState
    spread: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(each.low, each.high, log=each.log) for name, each in ranges.items()
    }
    sampler = optuna.samplers.TPESampler(seed=len(trials), constant_liar=count > 1)
    study = optuna.create_study(direction=kinds.MAXIMIZE if mode == "max" else kinds.MINIMIZE, sampler=sampler)
    for trial in trials:
        state = states.FAIL if trial.val is None else states.COMPLETE
        known = optuna.trial.create_trial(
            params=dict(trial.settings), distributions=spread, value=trial.val, state=state
        )
        study.add_trial(known)
    return [dict(study.ask(spread).params) for _ in range(count)]

"""Equal searches for all contenders: the same ranges, the same number of trials, judged on validation alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys.comparison.spec import Comparison, Contender, Run, SearchRange
from recsys.comparison.store import RunStore

if TYPE_CHECKING:
    import optuna

Execute = Callable[[Sequence[Run]], object]
"""Makes sure that runs are done, as far as they can be."""


def search(comparison: Comparison, store: RunStore, execute: Execute, num_trials: int) -> Comparison:
    """Find each contender's settings with `num_trials` runs of its first seed; returns the comparison with them.

    The sampler is seeded, so that a search that was stopped asks again for the trials it has, and finds them done. A
    failed run is a trial, too.

    Raises:
        ValueError: if the comparison has no ranges, Optuna is not installed, or all trials of a contender failed.
    """
    if not comparison.search:
        raise ValueError(f"'{comparison.name}' has no 'search': give ranges, such as model.init_args.optimizer...lr.")
    if num_trials < 1:
        raise ValueError(f"--trials must be at least 1, got {num_trials}.")
    found = tuple(_best(comparison, contender, store, execute, num_trials) for contender in comparison.contenders)
    return Comparison(**{**vars(comparison), "contenders": found})


def _best(
    comparison: Comparison, contender: Contender, store: RunStore, execute: Execute, num_trials: int
) -> Contender:
    study = _study(comparison.mode)
    for _ in range(num_trials):
        trial = study.ask()
        settings = {name: _suggest(trial, name, values) for name, values in comparison.search.items()}
        run = comparison.run(contender, comparison.seeds[0], [nested(settings)])
        execute([run])
        result = store.result(run)
        if result is None:
            study.tell(trial, state=_failed_state())
        else:
            study.tell(trial, result.val)
    try:
        best: dict[str, Any] = study.best_params
    except ValueError as error:
        raise ValueError(f"all {num_trials} trials of '{contender.name}' failed; see {store.folder}.") from error
    return Contender(contender.name, (*contender.overrides, nested(best)))


def nested(settings: Mapping[str, float]) -> dict[str, Any]:
    """Key paths as nested keys.

    >>> nested({"a.b": 1.0, "a.c": 2.0})
    {'a': {'b': 1.0, 'c': 2.0}}
    """
    found: dict[str, Any] = {}
    for path, value in settings.items():
        *parents, last = path.split(".")
        inner = found
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return found


def _study(mode: str) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise ValueError("search needs Optuna: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind = optuna.study.StudyDirection
    direction = kind.MAXIMIZE if mode == "max" else kind.MINIMIZE
    return optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=0))


def _suggest(trial: optuna.Trial, name: str, values: SearchRange) -> float:
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _failed_state() -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState.FAIL

"""Equal searches for all contenders: the same ranges, the same number of trials, judged on validation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from recsys.comparison.found import SearchFile, with_found_settings
from recsys.comparison.sampler import Trial, suggest
from recsys.comparison.spec import Comparison, Found, Run
from recsys.comparison.store import RunStore

Execute = Callable[[Sequence[Run]], object]
"""Makes sure that runs are done, as far as they can be."""


def search(comparison: Comparison, store: RunStore, execute: Execute, num_trials: int, num_jobs: int = 1) -> Comparison:
    """Find each contender's settings with `num_trials` runs of its first seed; returns the comparison with them.

    All contenders take turns: a round has one trial of each, or more where `num_jobs` runs would not be reached. The
    trials and what they found are kept in the store, so that a search that was stopped goes on; a failed run is a
    trial, too, and is not tried again.

    Raises:
        ValueError: if the comparison has no ranges, Optuna is not installed, or all trials of a contender failed.
    """
    if not comparison.search:
        raise ValueError(f"'{comparison.name}' has no 'search': give ranges, such as model.init_args.optimizer...lr.")
    if num_trials < 1:
        raise ValueError(f"--trials must be at least 1, got {num_trials}.")
    files = [SearchFile(comparison, contender, store) for contender in comparison.contenders]
    width = -(-num_jobs // len(files))
    _run_waiting(files, store, execute, num_trials)
    while any(len(file.trials()) < num_trials for file in files):
        for file in files:
            count = min(width, num_trials - len(file.trials()))
            if count > 0:
                # Written before they run: if the search is stopped, it goes on with these.
                new = suggest(comparison.search, comparison.mode, _tried(file, store), count)
                file.write([*file.trials(), *new])
        _run_waiting(files, store, execute, num_trials)
    for file, contender in zip(files, comparison.contenders, strict=True):
        file.write(file.trials(), _best(contender.name, _tried(file, store)[:num_trials], comparison.mode, store))
    tuned = with_found_settings(comparison, store)
    assert tuned is not None, "every search has ended"
    return tuned


def _run_waiting(files: Sequence[SearchFile], store: RunStore, execute: Execute, num_trials: int) -> None:
    """Run the trials that have neither a result nor an error."""
    runs = [file.run(settings) for file in files for settings in file.trials()[:num_trials]]
    waiting = [run for run in runs if store.result(run) is None and store.error(run) is None]
    if waiting:
        execute(waiting)


def _tried(file: SearchFile, store: RunStore) -> list[Trial]:
    results = [(settings, store.result(file.run(settings))) for settings in file.trials()]
    # A model that diverged has failed as much as one that crashed.
    values = [None if result is None or not isfinite(result.val) else result.val for _, result in results]
    return [Trial(settings, value) for (settings, _), value in zip(results, values, strict=True)]


def _best(name: str, trials: Sequence[Trial], mode: str, store: RunStore) -> Found:
    """The first of the best trials.

    Raises:
        ValueError: if all failed.
    """
    values = [trial.val for trial in trials if trial.val is not None]
    if not values:
        raise ValueError(f"all {len(trials)} trials of '{name}' failed; see {store.folder}.")
    best = max(values) if mode == "max" else min(values)
    settings = next(trial.settings for trial in trials if trial.val == best)
    return Found(dict(settings), best, len(trials), len(trials) - len(values))

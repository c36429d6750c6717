"""The command line of a run, and whether what it describes can be built."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from recsys.comparison.spec import Comparison, Run
from recsys.configuration.suggestions import explain


def arguments_of(run: Run, folder: Path) -> list[str]:
    """What the command line of a run says, with its configs written into its folder."""
    arguments = []
    for number, config in enumerate((*run.configs, *run.overrides)):
        path = folder / f"config_{number}.yaml"
        path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        arguments += ["-c", str(path)]
    arguments += [f"--seed_everything={run.seed}", f"--data.init_args.seed={run.seed}"]
    arguments += [f"--data.init_args.path={run.data}", f"--trainer.default_root_dir={folder}"]
    return [*arguments, "--trainer.enable_progress_bar=false"]


@contextmanager
def _silence() -> Iterator[None]:
    """What is said of a run is said when it begins."""
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(None):
            yield
    finally:
        logging.disable(logging.NOTSET)


def check_contenders(comparison: Comparison) -> None:
    """Build every contender but its rows, so that no training is spent beside one that cannot be.

    Raises:
        ValueError: naming all contenders that cannot be built, and why.
    """
    from recsys.configuration.lightning_cli import RecsysCLI

    failed = []
    for contender in comparison.contenders:
        with TemporaryDirectory() as folder, _silence():
            run = comparison.run(contender, comparison.seeds[0])
            try:
                task = RecsysCLI.launch(arguments_of(run, Path(folder)), run=False).model
                task.table_settings.make_tables()
            except (ValueError, TypeError, OSError) as error:
                failed.append(f"'{contender.name}': {explain(str(error)).splitlines()[0]}")
    if failed:
        raise ValueError("\n  ".join([f"{len(failed)} contenders cannot be built:", *failed]))

"""What the tests of stages share: the words of a small run, and the command."""

from pathlib import Path

import pytest

from recsys.cli import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def words_of(prepared, tables):
    return [
        "-c",
        str(CONFIGS / "criteo.yaml"),
        "-c",
        str(CONFIGS / "tables" / f"{tables}.yaml"),
        f"--data.init_args.path={prepared}",
        "--model.init_args.exact_up_to=10",
        "--trainer.max_epochs=2",
        "--trainer.enable_progress_bar=false",
        "--trainer.logger=false",
        "--trainer.precision=32-true",
    ]


def compress(*words):
    with pytest.raises(SystemExit) as stop:
        main(["compress", *map(str, words)])
    return stop.value.code

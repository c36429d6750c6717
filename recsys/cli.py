"""The command line: `lightning fit -c configs/criteo.yaml`, and `recsys doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.suggestions import explain

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

COMMANDS = ("fit", "validate", "test", "predict", "doctor")
_USAGE = f"usage: recsys {{{','.join(COMMANDS)}}} -c CONFIG [-c OVERRIDE ...] [--data.path FOLDER ...]"


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends with a short message and exit code 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments[:1] == ["doctor"]:
        from recsys.doctor import doctor

        sys.exit(doctor())
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help"):
        sys.exit(_fail(_unknown_command(arguments)))
    # Must stand in the environment before torch is loaded: spinning OpenMP threads make a busy machine 100 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        _check_files(arguments)
        run(arguments)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(_fail(str(error)))


def run(arguments: Sequence[str]) -> LightningCLI:
    """Parse, build and run; raises what the parts raise."""
    from recsys.lightning_cli import RecsysCLI

    try:
        return RecsysCLI.launch(arguments)
    except SystemExit as stop:
        if stop.code not in (0, None) and isinstance(stop.__context__, Exception):
            raise ValueError(explain(str(stop.__context__))) from None
        raise


def _unknown_command(arguments: Sequence[str]) -> str:
    if not arguments:
        return _USAGE
    return explain(f"unknown command '{arguments[0]}'", arguments[0], COMMANDS) + f"\n{_USAGE}"


def _check_files(arguments: Sequence[str]) -> None:
    """A missing config file is named, with those of its folder that look like it."""
    for flag, value in zip(arguments, arguments[1:], strict=False):
        if flag in ("-c", "--config") and not Path(value).is_file() and ":" not in value:
            folder = Path(value).parent
            siblings = [str(path) for path in sorted(folder.glob("*.yaml"))] if folder.is_dir() else []
            raise FileNotFoundError(explain(f"config file '{value}' does not exist", value, siblings))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2

"""The command line: `lightning fit -c configs/criteo.yaml`, `recsys evaluate predictions.parquet`, `recsys doctor`."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from traceback import extract_tb

from recsys import __version__
from recsys.configuration.causes import led_to
from recsys.configuration.shipped import is_yaml, names, with_files
from recsys.configuration.suggestions import explain
from recsys.prepare.files.streams import discard_output, print_anywhere
from recsys.prepare.files.system_refusal import system_refusal

_EXTRAS = {
    "onnx": "onnx",
    "onnxscript": "onnx",
    "optuna": "search",
    "sentencepiece": "semantic",
    "sklearn": "semantic",
}
"""The extra of this package that brings another one."""
_INTERRUPTED, _UNREAD = 128 + signal.SIGINT, 128 + signal.SIGPIPE
# Commands of their own, each a module with main(arguments) -> exit code; the others are Lightning's.
_TOOLS = {
    "prepare": "raw files to a folder to train on",
    "semantic_ids": "codes of items from their content",
    "plan": "tables for a folder, within a budget",
    "methods": "the table methods, from which papers, and what they take",
    "evaluate": "metrics of predictions, with intervals, slices and comparisons",
    "compare": "many runs from one file, and their report",
    "describe": "what the tables of a checkpoint hold",
    "compress": "trained tables made to fit a budget",
    "export": "a checkpoint as a program, for serving",
    "consolidate": "a checkpoint as one plain folder",
    "doctor": "whether the installation fits together",
}
_LIGHTNING = {
    "fit": "train",
    "validate": "metrics of the val split",
    "test": "metrics of the test split",
    "predict": "scores as a file",
}
COMMANDS = (*_LIGHTNING, *_TOOLS)
_USAGE = (
    "usage: recsys COMMAND ...   (recsys COMMAND --help says more)\n"
    f"       recsys {{{','.join(_LIGHTNING)}}} -c CONFIG [-c OVERRIDE ...] [--data.path FOLDER ...]\n"
)
_USAGE += "\n".join(f"  {name:<12} {words}" for name, words in (_LIGHTNING | _TOOLS).items())


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends with a short message and exit code 2, a reader that has gone with 141."""
    print_anywhere()
    try:
        try:
            _run(args)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        sys.exit(_UNREAD)
    except OSError as error:
        discard_output()
        sys.exit(_fail(f"what was printed is not whole: {error.strerror}."))


def _run(args: Sequence[str] | None) -> None:
    """Run a command and exit, unless it is one of Lightning's or only help was asked for."""
    arguments = with_files(sys.argv[1:] if args is None else args)
    if arguments and arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return
    if arguments and arguments[0] == "--version":
        print(f"recsys {__version__}")
        return
    if not arguments or arguments[0] not in COMMANDS:
        sys.exit(_fail(_unknown_command(arguments)))
    # Before torch is loaded: threads that spin while they wait make a step on a busy machine 100 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        if arguments[0] in _TOOLS:
            sys.exit(import_module(f"recsys.commands.{arguments[0]}").main(arguments[1:]))
        _check_files(arguments)
        _check_order(arguments)
        from recsys.configuration.lightning_cli import run

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:
        sys.exit(_fail(_of_missing(error, arguments[0])))
    except (ValueError, OSError) as error:
        mistake = _mistake(error)
        # What builds a config's classes tries several types, and hides the error that ended it behind one of its own.
        refused = next((each for each in led_to(error) if isinstance(each, PermissionError)), None)
        system = system_refusal(error if mistake is not None or refused is None else refused)
        said = _of_memory(error) or system or explain(str(mistake or error))
        # A parser that tried several types keeps what ours said and not where it was said.
        if mistake is None and said == str(error):
            raise
        sys.exit(_fail(said))
    except Exception as error:
        refusal = _of_memory(error) or system_refusal(error)
        if refusal is None:
            raise
        sys.exit(_fail(refusal))


def _of_missing(error: ModuleNotFoundError, command: str) -> str:
    """What to install.

    Raises:
        ModuleNotFoundError: if no extra of this package would help.
    """
    if error.name is None:
        return f"recsys {command} needs what is not installed: {' '.join(str(error).split())}."
    package = error.name.partition(".")[0]
    if package == "recsys" or find_spec(package) is not None:
        raise error
    if package in ("torch", "torchrec", "fbgemm_gpu"):
        return f"recsys {command} needs {package}, which is not installed; `recsys doctor` has the command."
    extra = _EXTRAS.get(package, "train")
    return f"recsys {command} needs {package}, which is not installed: pip install 'recsys-tables[{extra}]'."


def _of_memory(error: BaseException) -> str | None:
    """What did not fit into the memory, in a sentence; None if something else went wrong."""
    said = " ".join(str(error).split())
    asked = re.search(r"tried to allocate ([\d.]+ ?\w+)", said, re.IGNORECASE)
    if not isinstance(error, MemoryError) and (asked is None or "memory" not in said):
        return None
    size = "more than there is" if asked is None else f"{asked[1]} at once"
    return f"the memory does not hold what was asked for, {size}; give fewer rows, narrower layers or smaller batches."


def _mistake(error: BaseException | None) -> BaseException | None:
    """The error of this package, which tells a user of a mistake, among those that led to this one; else None."""
    for each in led_to(error):
        # An error that came with another as its cause may never have been raised.
        frames = extract_tb(each.__traceback__)
        if frames and Path(frames[-1].filename).is_relative_to(Path(__file__).parent):
            return each
    return None


def _unknown_command(arguments: Sequence[str]) -> str:
    if not arguments:
        return _USAGE
    return explain(f"unknown command '{arguments[0]}'", arguments[0], COMMANDS) + f"\n{_USAGE}"


def _check_files(arguments: Sequence[str]) -> None:
    """A missing config file is named, with those of its folder, or of this package, that look like it."""
    for flag, value in pairwise(arguments):
        if flag not in ("-c", "--config") or Path(value).is_file() or ":" in value:
            continue
        if Path(value).exists():
            raise ValueError(f"config '{value}' is no file; give a YAML file.")
        message = f"config file '{value}' does not exist"
        below = [name for name in names() if name.endswith(f"/{value}")]
        if below:
            raise FileNotFoundError(f"{message}; did you mean '{below[0]}'?")
        folder = Path(value).parent
        siblings = [str(path) for path in sorted(folder.glob("*")) if is_yaml(path.name)] if folder.is_dir() else []
        raise FileNotFoundError(explain(message, value, siblings if "/" in value or is_yaml(value) else names()))


def _check_order(arguments: Sequence[str]) -> None:
    """An override before the first config file would be overridden by it, or lack the class that the file names."""
    configs = [i for i, word in enumerate(arguments) if word in ("-c", "--config") or word.startswith("--config=")]
    early = [word.split("=")[0] for word in arguments[: min(configs, default=0)] if _is_override(word)]
    if early:
        raise ValueError(
            f"{early[0]} comes before the first -c, whose file would override it; put -c CONFIG before overrides."
        )


def _is_override(word: str) -> bool:
    return word.startswith(("--model.", "--data.", "--trainer."))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2

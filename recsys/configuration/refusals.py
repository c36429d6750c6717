"""What the parser, the trainer and its callbacks refuse, told from mistakes of programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any

import lightning
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from recsys.configuration.causes import led_to

_LIGHTNING = Path(lightning.__file__).parent
_OWN = Path(__file__).parents[1]


@contextmanager
def refusals_in_a_sentence() -> Iterator[None]:
    """Raise what is refused inside as a ValueError.

    Raises:
        ValueError: in the words of who refuses.
    """
    try:
        yield
    except ArgumentError as error:
        raise ValueError(str(error)) from error
    except (MisconfigurationException, AttributeError, TypeError, ValueError, RuntimeError) as error:
        refused = _refused(error)
        if refused is None:
            raise
        raise ValueError(refused) from error


def check_settings(settings: Any) -> None:
    """Refuse a trainer without all that a run here is made of, and one that works in a folder that nobody named.

    Raises:
        ValueError: with what to write instead.
    """
    if settings.get("barebones"):
        raise ValueError(
            "trainer.barebones: true leaves out logs, callbacks and checkpoints, of which a run here is made; leave it "
            "out, and switch off what you name, logger: false or enable_checkpointing: false."
        )
    callbacks = settings.get("callbacks")
    if callbacks is not None and not isinstance(callbacks, list):
        kind = type(callbacks).__name__
        raise ValueError(
            f"trainer.callbacks must be a list, got {kind} alone; write [{{class_path: {kind}, init_args: {{...}}}}]."
        )
    if settings.get("default_root_dir") == "":
        raise ValueError("trainer.default_root_dir must not be empty; leave it out, or write . for this folder.")


def _refused(error: BaseException) -> str | None:
    """The sentence of the trainer or a callback that led to an error, or about a class that is none; else None.

    What this package says of a value is a sentence already.
    """
    for cause in led_to(error):
        said = " ".join(str(cause).split())
        frame = [None, *extract_tb(cause.__traceback__)][-1]
        raised_in = Path("" if frame is None else frame.filename)
        if isinstance(cause, ValueError) and raised_in.is_relative_to(_OWN):
            return None
        if isinstance(cause, MisconfigurationException) or _refuses(frame):
            where = "seed_everything" if frame is not None and frame.name == "seed_everything" else "trainer"
            return f"{where}: {said}"
        abstract = re.match(r"Can't instantiate abstract class (\w+)", said)
        if isinstance(cause, TypeError) and abstract:
            return f"{abstract[1]} is what other classes are made from; name one of them ({said})."
    return None


def _refuses(frame: FrameSummary | None) -> bool:
    """Whether an error is one that Lightning raises, and not one that befell it."""
    if frame is None or not Path(frame.filename).is_relative_to(_LIGHTNING):
        return False
    return (frame.line or "").startswith("raise ")

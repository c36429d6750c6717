"""Runs that a signal stops, and the exit code that says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it ends what Ctrl-C would end."""


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, by an exception; in the main thread alone, which gets signals.

    Raises:
        Terminated: at a SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def codes_of_signals() -> Iterator[None]:
    """End the program as shells expect of one that a signal has stopped: with 128 and the signal's number.

    Raises:
        SystemExit: instead of Lightning's, which ends with 0 after SIGTERM and with 1 after Ctrl-C.
    """
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGINT) from None
        raise

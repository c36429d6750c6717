"""Runs that a signal stops, and the exit code that says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException


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

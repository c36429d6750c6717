"""What is printed reaches a terminal or a file of any encoding."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper


def print_anywhere() -> None:
    """Characters that the output's encoding lacks, and bytes of file names that are no text, are printed escaped."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let go of what cannot be written any more; Python would try once more at its end, and say so in its own words."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

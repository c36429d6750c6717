"""What a page of data_scripts/ runs."""

from __future__ import annotations

import sys
from importlib import import_module


def run(name: str) -> None:
    """Import the program of this name and run it; Ctrl-C while it is imported ends with exit code 130, as later."""
    try:
        main = import_module(f"recsys.prepare.programs.{name}").main
    except KeyboardInterrupt:
        sys.exit(130)
    main()

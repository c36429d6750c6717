"""What a page of data_scripts/ runs."""

from __future__ import annotations

import sys
from importlib import import_module

from recsys.prepare.files.streams import print_anywhere


def run(name: str) -> None:
    """Import the program of this name and run it; Ctrl-C while it is imported ends with exit code 130, as later."""
    print_anywhere()
    try:
        main = import_module(f"recsys.prepare.programs.{name}").main
    except KeyboardInterrupt:
        sys.exit(130)
    main()

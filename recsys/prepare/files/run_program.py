"""How every program of preparation ends: with exit code 0, or with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run_program(program: Callable[[], None]) -> None:
    """Run it; a user's mistake or the system's refusal ends with one sentence, Ctrl-C with exit code 130."""
    try:
        program()
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = "" if error.filename is None else f"'{error.filename}': "
        sys.exit(f"error: {where}{error.strerror or error}.")

"""How every program of preparation ends: with exit code 0, or with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from recsys.prepare.files.system_refusal import system_refusal


class Mistake(SystemExit):
    """Ends the program with exit code 2, as every command does; its text is the sentence that says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 2


def run_program(program: Callable[[], None]) -> None:
    """Run it; a user's mistake or the system's refusal ends with one sentence and exit code 2, Ctrl-C with 130."""
    try:
        program()
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    except ValueError as error:
        raise _said(f"error: {error}") from error
    except OSError as error:
        where = "" if error.filename is None else f"'{error.filename}': "
        raise _said(f"error: {where}{error.strerror or error}.") from error
    except Exception as error:
        refused = system_refusal(error)
        if refused is None:
            raise
        raise _said(f"error: {refused}") from error


def _said(sentence: str) -> Mistake:
    print(sentence, file=sys.stderr)
    return Mistake(sentence)

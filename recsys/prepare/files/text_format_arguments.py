"""The arguments that say how files of text look."""

from __future__ import annotations

import argparse

from recsys.prepare.files.text_table import ENCODINGS, SEPARATORS, TextFormat


def add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how files of text look."""
    add = parser.add_argument_group("files of text").add_argument
    add("--separator", metavar="TEXT", help=f"or {', '.join(SEPARATORS)} (default: what the first line shows)")
    add("--columns", nargs="+", default=[], metavar="NAME", help="of a file whose first line is not a header")
    add("--encoding", choices=ENCODINGS, default="utf-8", help="of the bytes (default %(default)s)")
    add("--missing", nargs="+", default=[], metavar="TEXT", help="texts that stand for a missing value, such as NA")


def text_format(parsed: argparse.Namespace, ragged: bool = False) -> TextFormat:
    """How files of text look."""
    separator = SEPARATORS.get(parsed.separator, parsed.separator)
    return TextFormat(separator, tuple(parsed.columns), tuple(parsed.missing), ragged, parsed.encoding)

"""`recsys consolidate CKPT OUT`: a plain folder of safetensors and JSON, for serving or another framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys.checkpoints.consolidated import TENSORS, consolidate
from recsys.prepare.files.command_parser import CommandParser


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments and consolidate."""
    parser = CommandParser(prog="recsys consolidate", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a .ckpt of `recsys fit`")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--optimizer-state", action="store_true", help="keep the optimiser state of the rows")
    given = parser.parse_args(arguments)
    consolidate(given.checkpoint, given.out, given.optimizer_state)
    print(f"wrote {given.out} ({(given.out / TENSORS).stat().st_size:,} bytes of tensors)")
    return 0

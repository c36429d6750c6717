"""`recsys doctor`: versions, device, whether the trio matches, and the command that mends it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence

from recsys.environment import has_gpu, installed_versions, mending_command, problems
from recsys.prepare.files.command_parser import CommandParser

_IMPORTS = ("torch", "fbgemm_gpu", "torchrec", "lightning")


def main(arguments: Sequence[str]) -> int:
    """Print the report; 0 if all is well, 1 if something must be mended."""
    CommandParser(prog="recsys doctor", description="Versions, device, and whether they match.").parse_args(arguments)
    versions = installed_versions()
    device = "cuda" if has_gpu() else "cpu"
    print(f"python        {platform.python_version()} on {platform.machine()}")
    for name, version in vars(versions).items():
        print(f"{name.replace('_', '-'):<13} {version or '-'}")
    print(f"device        {device}")
    found = problems(versions)
    if versions.torch:
        # All at once first: an interpreter for each takes as many times as long.
        asked = _IMPORTS if _import_failure(", ".join(_IMPORTS)) else ()
        failures = {name: reason for name in asked if (reason := _import_failure(name))}
        found += [f"'import {name}' fails: {reason}" for name, reason in failures.items()]
        if "torch" not in failures:
            _print_compute()
    for problem in found:
        print(f"PROBLEM       {problem}")
    if found:
        print(f"mend it with\n  {mending_command(versions, device)}")
        return 1
    print("the trio matches")
    return 0


def _print_compute() -> None:
    import torch

    from recsys.hardware import has_bf16_hardware

    print(f"torch.cuda    {torch.version.cuda or 'not built in'}, GPU usable: {torch.cuda.is_available()}")
    bf16 = "yes" if has_bf16_hardware() else "no: train in 32-true"
    print(f"cpu           {torch.backends.cpu.get_cpu_capability()}, bf16 hardware: {bf16}")
    print(f"threads       {torch.get_num_threads()}, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}")


def _import_failure(name: str) -> str:
    """The last line of what importing a package, or several, in a fresh interpreter says; empty if it works."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", f"import {name}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return lines[-1] if result.returncode else ""

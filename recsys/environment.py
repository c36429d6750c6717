"""The trio of torch, torchrec and FBGEMM: which versions match, how to install them, what is installed.

The set-up runs this file by its path before anything is installed, so it imports the standard library alone:

    .venv/bin/python -P recsys/environment.py install [--device cpu|cuda] [--index URL] [--torch-index URL]

Afterwards `pip check` names two requirements of torchrec, both unmet on purpose: it asks for fbgemm-gpu by that name,
which the CPU build does not carry, and for one old release of torchmetrics, whose newer releases serve it as well.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TORCHREC_REQUIREMENTS = ("tensordict", "torchmetrics>=1.0.3", "tqdm", "pyre-extensions")
PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "lightning", "recsys-tables")


@dataclass(frozen=True)
class Trio:
    """Releases that are made for each other, and the Pythons that all three are built for.

    Args:
        torch: release.
        torchrec: release.
        fbgemm: release, of the CPU build as of the one with CUDA.
        pythons: first and last, as (major, minor).
    """

    torch: str
    torchrec: str
    fbgemm: str
    pythons: tuple[tuple[int, int], tuple[int, int]] = ((3, 10), (3, 14))


TRIOS = (
    Trio("2.14.0", "1.9.0", "1.9.0"),
    Trio("2.13.0", "1.8.0", "1.8.0"),
    Trio("2.12.0", "1.7.0", "1.7.0"),
    Trio("2.11.0", "1.6.1", "1.6.0"),
)
"""Newest first."""


@dataclass(frozen=True)
class Versions:
    """Installed versions; None where a package is missing."""

    torch: str | None
    torchrec: str | None
    fbgemm_cpu: str | None
    fbgemm_cuda: str | None
    lightning: str | None
    recsys_tables: str | None


def installed_versions() -> Versions:
    """What is installed in this interpreter's environment, without importing any of it."""
    return Versions(*(_version(name) for name in PACKAGES))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """Whether an NVIDIA driver is at work on this machine and sees a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return any(Path("/dev").glob("nvidia[0-9]*"))
    listing = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU " in listing.stdout


def usable_trios(python: tuple[int, int] = sys.version_info[:2]) -> list[Trio]:
    """Those built for a Python, newest first.

    Raises:
        ValueError: if there is none, with the Pythons that there are.
    """
    found = [trio for trio in TRIOS if trio.pythons[0] <= python <= trio.pythons[1]]
    if not found:
        first, last = (".".join(map(str, end(trio.pythons[k] for trio in TRIOS))) for k, end in ((0, min), (1, max)))
        raise ValueError(
            f"no torch, torchrec and fbgemm for Python {'.'.join(map(str, python))}; take {first} to {last}."
        )
    return found


def trio_of(torch: str | None) -> Trio | None:
    """The trio that a torch belongs to, by its minor release; None if it is in none."""
    return next((trio for trio in TRIOS if torch and _minor(trio.torch) == _minor(torch)), None)


def problems(versions: Versions) -> list[str]:
    """What does not match, a sentence each; empty when all is well."""
    trio = trio_of(versions.torch)
    if trio is None:
        known = ", ".join(".".join(_minor(each.torch)) for each in TRIOS)
        is_there = "not installed" if versions.torch is None else f"{versions.torch}"
        return [f"torch is {is_there}; this release is made for torch {known}."]
    found = []
    pairs = f"torch {versions.torch} pairs with"
    if versions.torchrec is None:
        found.append(f"torchrec is not installed; {pairs} torchrec {trio.torchrec}.")
    elif _minor(versions.torchrec) != _minor(trio.torchrec):
        found.append(f"torchrec {versions.torchrec} is installed; {pairs} torchrec {trio.torchrec}.")
    fbgemm = [version for version in (versions.fbgemm_cpu, versions.fbgemm_cuda) if version]
    if not fbgemm:
        found.append(f"fbgemm is not installed; {pairs} fbgemm {trio.fbgemm}.")
    elif len(fbgemm) == 2:
        found.append("fbgemm-gpu and fbgemm-gpu-cpu are both installed and overwrite each other's files.")
    elif _minor(fbgemm[0]) != _minor(trio.fbgemm):
        found.append(f"fbgemm {fbgemm[0]} is installed; {pairs} fbgemm {trio.fbgemm}.")
    if versions.fbgemm_cuda and (versions.torch or "").endswith("+cpu"):
        found.append(f"fbgemm-gpu is built for CUDA, but torch {versions.torch} is not.")
    return found


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split("+")[0].split(".")[:2])


def mending_command(versions: Versions, device: str) -> str:
    """One command line that puts in place what is missing or does not match."""
    command = f"{sys.executable} -P {Path(__file__).resolve()} install --device {device}"
    if versions.lightning is None:
        command += f' && {sys.executable} -m pip install "recsys-tables[train]"'
    return command


def install(device: str, index: str | None, torch_index: str | None) -> None:
    """Install the matching trio; torchrec without its own requirement, which pulls a CUDA build everywhere.

    Raises:
        ValueError: if there is none for this Python.
        subprocess.CalledProcessError: if pip fails.
    """
    options = ["--index-url", index] if index else []
    wanted, other = ("fbgemm-gpu-cpu", "fbgemm-gpu") if device == "cpu" else ("fbgemm-gpu", "fbgemm-gpu-cpu")
    if _version(other):  # both own the same folder: removing one breaks the other
        _pip("uninstall", "--yes", wanted, other)
    trio = _install_torch(device, ["--index-url", torch_index] if torch_index else options)
    _pip("install", *options, f"{wanted}=={trio.fbgemm}", *TORCHREC_REQUIREMENTS)
    _pip("install", *options, "--no-deps", f"torchrec=={trio.torchrec}")


def _install_torch(device: str, options: list[str]) -> Trio:
    """The newest that this Python has; on the CPU the newest with a CPU build, a tenth of the size, if there is one."""
    trios = usable_trios()
    if device == "cuda":
        _pip("install", *options, f"torch=={trios[0].torch},!={trios[0].torch}+cpu")
        return trios[0]
    for trio in trios:
        if _pip("install", *options, f"torch=={trio.torch}+cpu", may_be_missing=True):
            return trio
    print("no index offers a torch for CPUs alone: installing the larger build with CUDA, which runs here as well")
    _pip("install", *options, f"torch=={trios[0].torch}")
    return trios[0]


_MISSING = ("No matching distribution", "ResolutionImpossible")
"""What pip says of a release that no index has; the second where a file of constraints names the package too."""


def _pip(*arguments: str, may_be_missing: bool = False) -> bool:
    """Run pip quietly; False if no index offers what was asked for and that is allowed.

    Raises:
        subprocess.CalledProcessError: on any other failure of pip, whose message is shown.
    """
    print("pip", *arguments, flush=True)
    command = [sys.executable, "-m", "pip", *arguments, "--quiet"]
    result = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if result.returncode and may_be_missing and any(words in result.stderr for words in _MISSING):
        return False
    if result.returncode:
        print(result.stderr, file=sys.stderr)
    result.check_returncode()
    return True


def main() -> None:
    """Command line of the set-up."""
    parser = argparse.ArgumentParser(description="install the matching torch, torchrec and fbgemm", allow_abbrev=False)
    parser.add_argument("action", choices=["install"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default=None, help="default: cuda where there is a GPU")
    parser.add_argument("--index", default=None, help="package index instead of pip's configured one")
    parser.add_argument("--torch-index", default=None, help="package index for torch alone")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if has_gpu() else "cpu")
    print(f"device: {device}")
    try:
        install(device, arguments.index, arguments.torch_index)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: pip failed (exit code {error.returncode}); its message stands above")


if __name__ == "__main__":
    main()

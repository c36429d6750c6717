"""The trio of torch, torchrec and FBGEMM: which versions match, how to install them, what is installed.

The set-up runs this file by its path before anything is installed, so it imports the standard library alone:

    .venv/bin/python recsys/environment.py install [--device cpu|cuda] [--index URL] [--torch-index URL]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TORCH, TORCHREC, FBGEMM = "2.13.0", "1.8.0", "1.8.0"
TORCHREC_REQUIREMENTS = ("tensordict", "torchmetrics>=1.0.3", "tqdm", "pyre-extensions")
PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "lightning", "recsys-tables")


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
    """Whether an NVIDIA driver is at work on this machine."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def problems(versions: Versions) -> list[str]:
    """What does not match, a sentence each; empty when all is well."""
    found = []
    wanted = {"torch": TORCH, "torchrec": TORCHREC}
    for name, version in wanted.items():
        have = getattr(versions, name)
        if have is None:
            found.append(f"{name} is not installed; this release is made for {name} {version}.")
        elif _minor(have) != _minor(version):
            found.append(f"{name} {have} is installed; this release is made for {name} {version}.")
    fbgemm = [version for version in (versions.fbgemm_cpu, versions.fbgemm_cuda) if version]
    if not fbgemm:
        found.append(f"fbgemm is not installed; torch {TORCH} pairs with fbgemm {FBGEMM}.")
    elif len(fbgemm) == 2:
        found.append("fbgemm-gpu and fbgemm-gpu-cpu are both installed and overwrite each other's files.")
    elif _minor(fbgemm[0]) != _minor(FBGEMM):
        found.append(f"fbgemm {fbgemm[0]} is installed; torch {TORCH} pairs with fbgemm {FBGEMM}.")
    return found


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split("+")[0].split(".")[:2])


def mending_command(device: str, python: str = sys.executable) -> str:
    """One command line that puts the matching trio in place."""
    remove, keep = ("fbgemm-gpu", "fbgemm-gpu-cpu") if device == "cpu" else ("fbgemm-gpu-cpu", "fbgemm-gpu")
    pip = f"{python} -m pip"
    return (
        f"{pip} uninstall -y {remove} && {pip} install --force-reinstall --no-deps "
        f"torch=={TORCH} {keep}=={FBGEMM} torchrec=={TORCHREC}"
    )


def install(device: str, index: str | None, torch_index: str | None) -> None:
    """Install the matching trio; torchrec without its own requirement, which pulls a CUDA build everywhere.

    Raises:
        subprocess.CalledProcessError: if pip fails.
    """
    options = ["--index-url", index] if index else []
    _install_torch(device, options, torch_index)
    fbgemm = "fbgemm-gpu-cpu" if device == "cpu" else "fbgemm-gpu"
    _pip([*options, f"fbgemm-gpu-cpu=={FBGEMM}" if device == "cpu" else f"{fbgemm}=={FBGEMM}", *TORCHREC_REQUIREMENTS])
    _pip([*options, "--no-deps", f"torchrec=={TORCHREC}"])


def _install_torch(device: str, options: list[str], torch_index: str | None) -> None:
    """Prefer the CPU build, a tenth of the size, where an index offers one."""
    options = ["--index-url", torch_index] if torch_index else options
    if device == "cpu" and _pip([*options, f"torch=={TORCH}+cpu"], check=False) == 0:
        return
    if device == "cpu":
        print(f"no index offers torch {TORCH}+cpu; installing the plain build")
    _pip([*options, f"torch=={TORCH}"])


def _pip(arguments: list[str], check: bool = True) -> int:
    command = [sys.executable, "-m", "pip", "install", "--quiet", *arguments]
    print("pip install", *arguments, flush=True)
    return subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL).returncode


def main() -> None:
    """Command line of the set-up."""
    parser = argparse.ArgumentParser(description="install the matching torch, torchrec and fbgemm")
    parser.add_argument("action", choices=["install"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default=None, help="default: cuda where there is a GPU")
    parser.add_argument("--index", default=None, help="package index instead of pip's configured one")
    parser.add_argument("--torch-index", default=None, help="package index for torch alone")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if has_gpu() else "cpu")
    print(f"device: {device}")
    install(device, arguments.index or None, arguments.torch_index or None)


if __name__ == "__main__":
    main()

"""Tables in models of other packages: runs the blocks of docs/existing_models.md, and writes the table below them.

    python benchmarks/peers.py [NAME ...] [--environments build/peers] [--update]

Each package has an environment of its own, in which its own requirements stand before those of this one, whose torch
it uses. A block leaves a `report` of `swap_` and its `losses`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import page_tables

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "existing_models.md"

REQUIREMENTS = {
    "transformers": ["transformers", "huggingface-hub", "tokenizers", "regex", "typer"],
    "deepctr-torch": ["deepctr-torch", "requests", "urllib3", "certifi", "charset-normalizer", "idna"],
    "torch-rechub": ["torch-rechub"],
    "recbole": ["recbole==1.2.1", "colorlog==4.7.2", "colorama", "tabulate", "texttable", "thop"],
    "fuxictr": [
        *("fuxictr==2.3.10", "h5py", "keras_preprocessing", "ray", "msgpack", "jsonschema"),
        *("jsonschema-specifications", "referencing", "rpds-py"),
    ],
    "rectools": [
        *("rectools==0.19.0", "pandas<3", "pytz", "pm-implicit", "typeguard", "fastrlock", "pytorch-lightning<=2.5.2"),
    ],
    "lenskit": [
        *("lenskit==2025.8.1", "structlog", "prettytable", "wcwidth", "xopen", "isal", "zlib-ng", "backports.zstd"),
        *("lazy-loader", "deepmerge", "py-cpuinfo", "pyzmq", "click~=8.1", "humanize", "pydantic-settings"),
        *("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "python-dotenv", "more-itertools"),
        *("threadpoolctl", "psutil", "requests", "urllib3", "certifi", "charset-normalizer", "idna"),
    ],
    "replay-rec": ["replay-rec==0.22.0", "pytorch-optimizer<4"],
}
"""Installed without what they depend on in turn: torch and what goes with it are at hand."""

BEFORE = {
    # Names that numpy 2 took away and RecBole 1.2.1 looks for when it is imported.
    "recbole": "import numpy as np\n"
    "for name, kind in {'bool8': np.bool_, 'float_': np.float64, 'complex_': np.complex128, 'unicode_': np.str_, "
    "'object0': object}.items():\n    setattr(np, name, kind)\n"
}

AFTER = """
import json
sizes = {"before": report.bytes_before, "after": report.bytes_after}
print("\\n" + json.dumps({**sizes, "losses": [losses[0], losses[-1]]}))
"""


def block(name: str) -> str:
    """What the page shows of a package."""
    found = re.search(rf"```python {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, name
    return found.group(1)


def lines(code: str) -> int:
    """Lines that a user writes."""
    changed = code.split("# What changes:\n")[1].split("# As before:\n")[0]
    return sum(bool(line.strip()) for line in changed.splitlines())


def environment(name: str, folder: Path) -> Path:
    """Python of the package's own environment, made if it is not there."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        packages = ["-m", "pip", "install", "--quiet", "--no-deps", *REQUIREMENTS[name]]
        subprocess.run([python, *packages], check=True)
        purelib = next((folder / name / "lib").glob("python*/site-packages"))
        (purelib / "base.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def row(name: str, folder: Path) -> str:
    """A line of the table."""
    code = block(name)
    program = f"import torch\ntorch.manual_seed(0)\ntorch.set_num_threads(1)\n{BEFORE.get(name, '')}{code}{AFTER}"
    done = subprocess.run(
        [environment(name, folder), "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
    )
    if done.returncode:
        return f"| {name} | no: {done.stderr.strip().splitlines()[-1]} | | | | |"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    first, last = found["losses"]
    works = "yes" if last < first else "no: its loss does not fall"
    return (
        f"| {name} | {works} | {lines(code)} | {found['before']:,} | {found['after']:,} | {first:.3f} -> {last:.3f} |"
    )


def main() -> int:
    """Run, print and, if asked, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(REQUIREMENTS)}; default: all")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--update", action="store_true", help="write the table into the page")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(REQUIREMENTS))
    if unknown:
        parser.error(f"{unknown} are not among {list(REQUIREMENTS)}")
    folder = arguments.environments.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(name, folder) for name in arguments.names or REQUIREMENTS]
    head = "| package | works | lines a user writes | bytes before | after | loss |\n|--|--|--:|--:|--:|--|"
    table = "\n".join([head, *rows])
    print(table)
    if arguments.update:
        page_tables.put(PAGE, "peers", table)
    return int(any("| no" in each for each in rows))


if __name__ == "__main__":
    sys.exit(main())

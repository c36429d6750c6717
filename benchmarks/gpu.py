"""What holds and how fast it is on the GPU that is there: checks, a floor, training speed, session models, memory.

    python benchmarks/gpu.py [--out gpu.json] [--seconds 450] [--only checks clicks parquet sessions]
    python benchmarks/gpu.py --device cpu --quick                  # the same on a small scale, to test this file

Takes less than 8 minutes; every section has its part of the time, and what it has no time for is said. Sections are
processes of their own, so that a GPU that one has upset is a fresh one to the next. What fails is recorded and stops
nothing else. The file is written anew as things are found, and tables are printed at the end.

Checks are those of `pytest -m gpu` (tests/gpu/checks.py); pytest itself is not needed. Contenders take turns, and
medians of rounds are printed. `of floor` is the time that the bytes of the rows and the products in bf16 would take at
the rates measured here, one after the other, over the time that a step took.

On a machine without a package index this needs, beside its Python 3.12 and torch 2.11 with CUDA, in one folder on
PYTHONPATH together with this repository: fbgemm-gpu 1.6, torchrec 1.6, tensordict, iopath, pyvers, orjson, lightning,
torchmetrics, lightning-utilities, jsonargparse, docstring-parser, typeshed-client, numpy, polars, pyarrow, rich and
tqdm, each from a wheel without its own requirements. Data are generated. A compiled dense part needs a C compiler;
without one that contender fails and the others run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "tables"))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import generated
import gpu_race
import gpu_sessions
import gpu_settings
import gpu_trainer
import machine
import torch
from gpu_floor import measured_rates

PARTS = {"checks": 0.3, "clicks": 0.4, "parquet": 0.17, "sessions": 0.13}
"""Sections, and their parts of the time."""
GRACE = 30
"""Seconds after which a section that does not end is ended."""


class Deadline:
    """When a section must have ended."""

    def __init__(self, seconds: float) -> None:
        self._end = perf_counter() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether it is over."""
        return perf_counter() > self._end


class Report:
    """What was found, written as it comes."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        self.found: dict[str, Any] = {"failures": {}, "skipped": []}

    def attempt(self, name: str, deadline: Deadline, work: Callable[[], Any]) -> Any:
        """What work gives; None, and a note, where it fails or there is no time."""
        if deadline.has_passed:
            self.found["skipped"].append(name)
            return None
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                return work()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            self.found["failures"][name] = f"{type(error).__name__}: {error}"[:1500] + f" ({where})"
            return None
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def write(self) -> None:
        """Replace the file."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.found, indent=1))
        partial.replace(self.path)


def checks(report: Report, deadline: Deadline, quick: bool) -> None:
    """Run every check."""
    from tests.gpu.checks import all_checks

    prepared = generated.write(Path(tempfile.mkdtemp()) / "clicks", generated.geometric_rows(500, 6), 4_000)
    passed = []
    for number, (name, check) in enumerate(all_checks(prepared).items()):
        if quick and name.startswith("table:") and number % 9:
            continue
        if report.attempt(name, deadline, lambda check=check: check(report.device) or True):
            passed.append(name)
            report.found["passed"] = passed


def clicks(report: Report, deadline: Deadline, quick: bool) -> None:
    """Race the contenders of every setting, from memory."""
    rates = measured_rates(report.device, quick)
    report.found["floor"] = rates.in_words()
    report.found["clicks"] = rows = []
    for setting in gpu_settings.QUICK if quick else gpu_settings.SETTINGS:
        attempt = report.attempt(
            str(setting),
            deadline,
            lambda setting=setting: gpu_race.race(setting, report.device, rates, report, deadline, quick),
        )
        rows += attempt or []
        report.write()


def parquet(report: Report, deadline: Deadline, quick: bool) -> None:
    """Time whole runs under the Trainer, from memory and from Parquet."""
    report.found["parquet"] = rows = []
    settings = gpu_settings.QUICK[:1] if quick else gpu_settings.FED
    for setting in settings:
        sizes = gpu_settings.sizes_of(setting)
        num_rows = 20_000 if quick else 2_000_000
        folder = Path(tempfile.gettempdir()) / f"recsys-gpu-{sum(sizes)}-{num_rows}"
        name = f"{setting}: writing its data"
        if report.attempt(name, deadline, lambda f=folder, s=sizes, n=num_rows: generated.write(f, s, n)) is None:
            continue
        for source in ("memory", "parquet"):
            for graphs in (None, *(["compiled, captured"] if report.device.type == "cuda" else [])):
                name = f"{setting} from {source}{f', {graphs}' if graphs else ''}"
                found = report.attempt(
                    name,
                    deadline,
                    lambda s=setting, f=folder, m=source, g=graphs: gpu_trainer.under_the_trainer(
                        s, f, m, g, report.device, 4 if quick else 60
                    ),
                )
                rows += [found] if found else []
        report.write()


def sessions(report: Report, deadline: Deadline, quick: bool) -> None:
    """Targets per second of session models."""
    report.found["sessions"] = rows = []
    for name, make in gpu_sessions.contenders(quick).items():
        found = report.attempt(name, deadline, lambda make=make: gpu_sessions.measure(make, report.device, quick))
        rows += [{"contender": name, **found}] if found else []
        report.write()


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    if not rows:
        return "nothing"
    names = list(rows[0])
    body = [[f"{each:,.3g}" if isinstance(each, float) else str(each) for each in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [names, ["--"] * len(names), *body])


SECTIONS = {"checks": checks, "clicks": clicks, "parquet": parquet, "sessions": sessions}


def in_processes(given: argparse.Namespace) -> dict[str, Any]:
    """Run every section in a process, and join what they found."""
    started = perf_counter()
    joined: dict[str, Any] = {"machine": machine.line("bf16-mixed"), "failures": {}, "skipped": []}
    whole = sum(PARTS[name] for name in given.only)
    for name in given.only:
        # What a section leaves of its time is the next ones'.
        seconds = (given.seconds - (perf_counter() - started)) * PARTS[name] / whole
        whole -= PARTS[name]
        part = Path(tempfile.mkdtemp()) / "part.json"
        command = [sys.executable, __file__, "--device", given.device, "--out", str(part), "--only", name]
        command += ["--seconds", str(seconds), *(["--quick"] if given.quick else [])]
        try:
            code = subprocess.run(command, timeout=seconds + GRACE, check=False).returncode
            problem = f"ended with {code}" if code else None
        except subprocess.TimeoutExpired:
            problem = f"did not end within {seconds + GRACE:.0f} s"
        found = json.loads(part.read_text()) if part.exists() else {}
        joined["failures"] |= found.pop("failures", {}) | ({name: problem} if problem else {})
        joined["skipped"] += found.pop("skipped", [])
        joined |= {**found, "seconds": round(perf_counter() - started, 1)}
        given.out.write_text(json.dumps(joined, indent=1))
        print(f"{name}: {joined['seconds']} s", file=sys.stderr)
    return joined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=450.0, help="that all of it may take")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes and few steps")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu --quick tests this file.")
    if len(given.only) > 1:
        show(in_processes(given))
        return
    report = Report(given.out, device)
    report.write()
    SECTIONS[given.only[0]](report, Deadline(given.seconds), given.quick)
    report.write()


def show(found: dict[str, Any]) -> None:
    """Print what was found."""
    print(found["machine"])
    print(f"{len(found.get('passed', []))} checks passed; floor: {found.get('floor')}; {found['seconds']} s in all")
    for name in ("clicks", "parquet", "sessions"):
        print(f"\n{name}\n\n{table(found.get(name, []))}")
    for name, problem in found["failures"].items():
        print(f"\nFAILED {name}: {problem}")
    if found["skipped"]:
        print(f"\nno time for: {', '.join(found['skipped'])}")


if __name__ == "__main__":
    main()
    # Kernels' and nccl's threads now and then abort a process that leaves in the ordinary way, after all is done.
    sys.stdout.flush()
    os._exit(0)

"""Prepare the Criteo display advertising data.

    python data_scripts/criteo.py --raw train.txt --out data/criteo --min-count 2
    python data_scripts/criteo.py --raw day_0 day_1 day_2 --out data/days
    python data_scripts/criteo.py --sample 100000

A line is: label, 13 whole numbers I1..I13, 26 hexadecimal categories C1..C26, separated by tabs, no header; an empty
field is a missing value (Kaggle 2014 ``train.txt``; the days of the terabyte log have the same layout). A dense feature
is log(x + 1) of the number, with x below 0 raised to 0; for I2, which begins at -3, it is log(x + 4), with x below -3
raised to -3. A missing number gives 0.0, a missing category id 0.

--bin-integers adds each number once more as a categorical feature I1_bin..I13_bin, with the bins floor(log2(x + 1))
and one for negative numbers, so that a model may learn any shape of its effect and tell missing (id 0) from 0.
--missing-indicators adds dense features I1_missing..I13_missing, 1 where the number is missing, else 0.

--sample ROWS needs no raw file: it writes a GENERATED one to OUT/raw/train.txt, in the same layout, and prepares it;
without --out it is data/sample, where the shipped configuration `demo` looks for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recsys.prepare.clicks.criteo_rows import CriteoRows
from recsys.prepare.clicks.criteo_sample import write_sample
from recsys.prepare.clicks.preparation import prepare
from recsys.prepare.files.preparation_arguments import make_parser, make_rule, prepare_folder, publish, raw_files
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.run_program import run_program

SAMPLE = Path("data/sample")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    raw_help = "train.txt, plain or packed, or day_0 to day_23"
    parser = make_parser("criteo", __doc__ or "", raw_help, ("rows", "random"), requires_out=False)
    parser.add_argument("--bin-integers", action="store_true", help="add I1_bin..I13_bin as categorical features")
    parser.add_argument("--missing-indicators", action="store_true", help="add I1_missing..I13_missing, 0 or 1")
    parser.add_argument("--sample", type=int, metavar="ROWS", help="generate ROWS raw lines instead of reading --raw")
    parsed = parser.parse_args(arguments)
    if (parsed.raw is None) == (parsed.sample is None):
        parser.error("give either --raw FILE or --sample ROWS")
    if parsed.out is None and parsed.sample is None:
        parser.error("give --out FOLDER")
    parsed.out = parsed.out or SAMPLE
    return parsed


def make_dataset(arguments: argparse.Namespace, raw: Sequence[RawFile], name: str) -> CriteoRows:
    """Return the lines to parse, with the features asked for."""
    return CriteoRows(raw, arguments.bin_integers, arguments.missing_indicators, name)


def prepare_sample(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Generate raw lines and prepare them, in one folder; return the lines of the report."""
    (folder / "raw").mkdir()
    raw = folder / "raw" / "train.txt"
    write_sample(raw, arguments.sample, arguments.seed or 0)
    dataset = make_dataset(arguments, [RawFile(raw)], "criteo_sample")
    report = prepare(dataset, make_rule(arguments, _recipe(arguments)), folder)
    return [*report, "these are GENERATED rows with a planted signal, not Criteo's"]


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    parsed = parse_arguments(arguments)
    run_program(lambda: _prepare(parsed))


def _prepare(parsed: argparse.Namespace) -> None:
    if parsed.sample is not None:
        publish(lambda folder: prepare_sample(parsed, folder), parsed.out, parsed.overwrite, parsed.config)
        return
    dataset = make_dataset(parsed, raw_files(parsed.raw, parsed.out), "criteo")
    prepare_folder(dataset, make_rule(parsed, _recipe(parsed)), parsed.out, parsed.overwrite, parsed.config)


def _recipe(parsed: argparse.Namespace) -> dict[str, object]:
    """What `recsys prepare apply` must know to take new lines likewise."""
    options = {"bin_integers": parsed.bin_integers, "missing_indicators": parsed.missing_indicators}
    return {"program": "criteo", **options}


if __name__ == "__main__":
    main()

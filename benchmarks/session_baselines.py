"""Baselines of next-item prediction on a prepared folder, as a check of data and metrics.

    python data_scripts/sessions.py --set s3rec-beauty --raw FOLDER --out data/beauty
    python benchmarks/session_baselines.py --data data/beauty

Full ranking, ties counted against the baseline, items of the history not recommended (unless --keep-seen).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

from recsys.baselines import BaseLevel, ItemKNN, MostPopular, PersonalPopular, baseline_metrics
from recsys.data import SessionDataModule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by data_scripts/sessions.py")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--keep-seen", action="store_true", help="recommend items of the history too")
    parser.add_argument("--decay", type=float, default=0.5, help="of BaseLevel")
    parser.add_argument("--succession", type=float, default=0.0, help="of BaseLevel")
    parsed = parser.parse_args()
    data = SessionDataModule(parsed.data, filter_seen=not parsed.keep_seen)
    base_level = BaseLevel(parsed.decay, succession=parsed.succession)
    for baseline in (MostPopular(), PersonalPopular(), base_level, ItemKNN()):
        begin = perf_counter()
        metrics = baseline_metrics(data, parsed.split, (baseline,))[baseline.name]
        print(f"{baseline.name}, {perf_counter() - begin:.1f} s")
        print("".join(f"  {key:24} {value:.4f}\n" for key, value in metrics.items()))


if __name__ == "__main__":
    main()

"""Prepare new rows with the vocabulary of a folder of clicks; `recsys prepare apply --help` says it all.

python data_scripts/apply.py data/mine new.parquet --out data/new
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("apply")

"""Prepare anybody's log of clicks: CSV, Parquet, Arrow or JSON lines; `recsys prepare clicks --help` says it all.

python data_scripts/clicks.py log.csv --out data/mine --config mine.yaml
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("clicks")

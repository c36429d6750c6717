"""Prepare new rows with the vocabulary of a folder of clicks; `recsys prepare apply --help` says it all.

python data_scripts/apply.py data/mine new.parquet --out data/new
"""

from recsys.prepare.programs.apply import main

if __name__ == "__main__":
    main()

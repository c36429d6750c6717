"""Make semantic ids: codes of items from their content, from coarse to fine.

    python data_scripts/semantic_ids.py --items movies.parquet --item item --text title plot --out codes/ml-1m
    python data_scripts/semantic_ids.py --help

--method residual-kmeans, category-prefix, random, shuffled or pieces; recsys semantic_ids has rq-vae too.
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("semantic_ids")

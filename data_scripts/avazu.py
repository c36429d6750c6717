"""Prepare the Avazu click data (Kaggle 2014 ``train``, plain or gzip).

    python data_scripts/avazu.py --raw train.gz --out data/avazu --min-count 2
    python data_scripts/avazu.py --raw train.gz --out data/avazu --split random --seed 1

A line is comma-separated, under a header. All features are categorical. ``id`` is dropped; ``hour`` (YYMMDDHH) becomes
hour of the day (0-23), weekday (0 is Monday) and weekend (0 or 1). An empty field is missing, id 0; the publisher's own
marks for unknown values (-1 in C20, the most frequent device_id) are values like any other. The file holds ten days: by
day, the first eight train, the ninth validates, the tenth tests.
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("avazu")

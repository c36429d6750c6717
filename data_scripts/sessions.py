"""Prepare an event log as sequences of items, one per user or session; `recsys prepare sessions --help` says it all.

python data_scripts/sessions.py --set s3rec-beauty --raw s3rec-beauty --out data/beauty
python data_scripts/sessions.py --raw log.csv --user visitor --item sku --time at --split time --out data/shop
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("sessions")

"""Prepare an event log as sequences of items, one per user or session, for next-item prediction.

    python data_scripts/sessions.py --set s3rec-beauty --raw s3rec-beauty --out data/beauty
    python data_scripts/sessions.py --set ml-1m --raw ml-1m --out data/ml-1m --text-dim 64
    python data_scripts/sessions.py --raw log.csv --user visitor --item sku --time at --gap-minutes 30 \
        --min-item-count 5 --min-length 2 --split sequences --targets every --item-columns brand tags:multi_valued \
        --out data/shop

Events are sorted by user and time, to the microsecond, and events of one time stay in the file's order; the folder
holds whole seconds. --set knows a publisher's files,
and refuses others by their counts of users, items and events. Filters come before the split, as in published work, and
so item counts of later events decide which items there are; --min-item-count 1 avoids that.

Splits: leave-one-out holds out each sequence's last two events, although other users' later events are trained on; time
holds out what happened last of all; sequences holds out whole sequences, by the time they begin; given keeps the
publisher's test sequences. With --targets every, each held-out event is told from those before it; training needs no
such prefixes, since every position predicts the next.

Item ids are 1..V by falling number of training events; 0 is padding.
"""

from recsys.prepare.programs.sessions import main

if __name__ == "__main__":
    main()

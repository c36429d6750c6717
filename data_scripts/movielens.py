"""Prepare MovieLens-1M (ratings.dat, users.dat, movies.dat) as click prediction.

    python data_scripts/movielens.py --raw ml-1m --out data/ml-1m
    python data_scripts/movielens.py --raw ml-1m --out data/ml-1m-genres --genres

Ratings 4 and 5 are label 1, ratings 1 and 2 label 0, and ratings of 3 are dropped (and counted): 739,012 rows. Six
categorical fields: user, item, gender, age, occupation, zip. These rows have 13,177 distinct values in the six fields,
the published count, which the report prints; id 0 of each field and values that only val or test have are apart.
--genres adds the genres of the movie as a multi-valued feature with mean pooling.
"""

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("movielens")

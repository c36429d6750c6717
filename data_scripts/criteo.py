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

from recsys.prepare.programs.script import run

if __name__ == "__main__":
    run("criteo")

"""Logistic regression by scikit-learn on a prepared folder: one-hot ids and standardised dense features.

    python benchmarks/logistic_regression.py --data data/criteo

The strongest simple baseline for models of clicks: fitted to convergence on the train split, its regularisation chosen
on the validation split, tested once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from recsys.data import Schema

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder, without multi-valued features")
    folder = parser.parse_args().data
    schema = Schema.read(folder)
    frames = {split: pq.read_table(folder / split).to_pandas() for split in ("train", "val", "test")}
    scaler = StandardScaler().fit(frames["train"][list(schema.dense)])
    inputs = {split: encode(frame, schema, scaler) for split, frame in frames.items()}
    labels = {split: frame[schema.label].to_numpy() for split, frame in frames.items()}
    scores: dict[float, dict[str, np.ndarray]] = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(inputs["train"], labels["train"])
        scores[strength] = {split: model.predict_proba(inputs[split])[:, 1] for split in ("val", "test")}
        print(f"C {strength:<5} validation AUC {roc_auc_score(labels['val'], scores[strength]['val']):.4f}", flush=True)
    best = max(STRENGTHS, key=lambda strength: roc_auc_score(labels["val"], scores[strength]["val"]))
    tested = scores[best]["test"]
    area, loss = roc_auc_score(labels["test"], tested), log_loss(labels["test"], tested)
    print(f"best C {best}: test AUC {area:.4f}, test log loss {loss:.4f}")


def encode(frame, schema: Schema, scaler: StandardScaler) -> sparse.csr_matrix:
    blocks = [sparse.csr_matrix(scaler.transform(frame[list(schema.dense)]))]
    rows = np.arange(len(frame))
    for column in schema.categorical:
        shape = (len(frame), column.num_embeddings)
        blocks.append(sparse.csr_matrix((np.ones(len(frame)), (rows, frame[column.name])), shape=shape))
    return sparse.hstack(blocks).tocsr()


if __name__ == "__main__":
    main()

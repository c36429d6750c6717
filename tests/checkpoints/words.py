"""Prepared folders of one log whose ids are numbered as a test likes: what a value means does not change with it."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [f"w{number}" for number in range(12)]
ROWS = {"train": 1_500, "val": 200, "test": 400}


def write_words(folder: Path, words=WORDS, dense=("I1",), seed=0, label_of=lambda word: int(word[1:]) % 2) -> Path:
    """Clicks that follow from the word alone; ids 1, 2, ... in the order given, 0 for words that are not in it."""
    generator = np.random.default_rng(seed)
    ids = {word: number + 1 for number, word in enumerate(words)}
    for split, num_rows in ROWS.items():
        drawn = [WORDS[i] for i in generator.integers(0, len(WORDS), num_rows)]
        columns = {"label": np.array([label_of(word) for word in drawn], np.float32)}
        columns |= {name: generator.random(num_rows, dtype=np.float32) for name in dense}
        columns["word"] = np.array([ids.get(word, 0) for word in drawn], np.int32)
        columns["hour"] = generator.integers(0, 24, num_rows).astype(np.int32)
        (folder / split).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / split / "part-00000.parquet")
    (folder / "vocabulary").mkdir()
    for name, values in (("word", words), ("hour", [str(hour) for hour in range(1, 24)])):
        ids = pa.array(np.arange(1, len(values) + 1))
        pq.write_table(pa.table({"id": ids, "value": list(values)}), folder / "vocabulary" / f"{name}.parquet")
    features = [{"name": name, "kind": "dense"} for name in dense]
    features += [{"name": "word", "kind": "categorical", "num_embeddings": len(words) + 1}]
    features += [{"name": "hour", "kind": "categorical", "num_embeddings": 24}]
    splits = {split: {"num_rows": num_rows, "label_rate": 0.5} for split, num_rows in ROWS.items()}
    head = {"format_version": 1, "dataset": "words", "label": "label", "features": features, "splits": splits}
    (folder / "schema.json").write_text(json.dumps(head))
    return folder


def command(data: Path, root: Path, *more: str) -> list[str]:
    """Words that follow `fit` or `test`."""
    return [
        *("--model=CTRTask", "--model.model=LogisticRegression", "--model.embedding_dim=4"),
        *("--model.table_optimizer=Adagrad", "--model.table_optimizer.learning_rate=0.5"),
        *("--data=CTRDataModule", f"--data.path={data}", "--data.batch_size=100"),
        *("--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        *(f"--trainer.default_root_dir={root}", *more),
    ]

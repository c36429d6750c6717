"""RecBole's SASRec on the events of a prepared folder: its own data set, loader, model and loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.baselines import Baseline
from recsys.data import SessionDataModule
from recsys.data.sequences import Ints, Sequences

NAME = "sessions"


class RecBoleSASRec(Baseline):
    """RecBole 1.2.1's SASRec with full cross-entropy over all items, trained on every prefix of every session.

    Args:
        data: the prepared folder, set up; its max_length is the model's.
        folder: an empty one, for RecBole's file of interactions.
        embedding_dim, num_blocks, dropout: of the model; one head, an inner size as wide as the embedding.
        num_targets: of a step.
        learning_rate: of Adam.
    """

    name = "recbole_sasrec"

    def __init__(
        self,
        data: SessionDataModule,
        folder: Path,
        embedding_dim: int,
        num_blocks: int,
        dropout: float,
        num_targets: int = 2048,
        learning_rate: float = 0.001,
    ) -> None:
        # RecBole 1.2.1 asks for names that NumPy 2 has dropped.
        for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
            setattr(np, name, kind)
        from recbole.config import Config
        from recbole.data import create_dataset
        from recbole.model.sequential_recommender import SASRec

        # Importing RecBole's models turns this on for the whole process, where it slows every backward pass.
        torch.autograd.set_detect_anomaly(False)
        _write_interactions(data, folder)
        settings = {
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "use_gpu": False,
            "train_neg_sample_args": None,
            "train_batch_size": num_targets,
            "loss_type": "CE",
            "hidden_size": embedding_dim,
            "inner_size": embedding_dim,
            "n_layers": num_blocks,
            "n_heads": 1,
            "hidden_dropout_prob": dropout,
            "attn_dropout_prob": dropout,
            "MAX_ITEM_LIST_LENGTH": data.max_length,
            "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": None, "mode": "full"},
        }
        self._config = Config(model="SASRec", dataset=NAME, config_dict=settings)
        self._train = create_dataset(self._config).build()[0]
        self.model = SASRec(self._config, self._train)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self._max_length = data.max_length
        self._ids = _recbole_ids(self._train, data.schema.num_items)

    def epoch(self) -> Iterator[int]:
        """Train on every prefix once, and tell the targets of each step."""
        from recbole.data.dataloader import TrainDataLoader

        self.model.train()
        for batch in TrainDataLoader(self._config, self._train, None, shuffle=True):
            self._optimizer.zero_grad()
            self.model.calculate_loss(batch).backward()
            self._optimizer.step()
            yield len(batch)

    def fit(self, train: Sequences, num_items: int) -> None:
        """Nothing; `epoch` trains."""

    def scores(self, histories: Sequences, rows: Ints) -> NDArray[np.float32]:
        """The model's; an item without a training event, which RecBole does not know, comes last."""
        from recbole.data.interaction import Interaction

        items = np.zeros((len(rows), self._max_length), dtype=np.int64)
        lengths = np.minimum(histories.lengths[rows], self._max_length)
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            stop = int(histories.offsets[row + 1])
            items[number, :length] = self._ids[histories.items[stop - length : stop]]
        batch = Interaction({"item_id_list": torch.from_numpy(items), "item_length": torch.from_numpy(lengths)})
        self.model.eval()
        with torch.inference_mode():
            found: Any = self.model.full_sort_predict(batch)
        known = self._ids[1:]
        return np.where(known > 0, found.numpy()[:, known], -np.inf).astype(np.float32)


def _write_interactions(data: SessionDataModule, folder: Path) -> None:
    """RecBole's atomic file of the training events."""
    sequences = data.sequences("train")
    (folder / NAME).mkdir()
    with (folder / NAME / f"{NAME}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user in range(len(sequences)):
            stop = int(sequences.offsets[user + 1])
            for time, item in enumerate(sequences.items[int(sequences.offsets[user]) : stop]):
                file.write(f"{user}\t{item}\t{time}\n")


def _recbole_ids(train: Any, num_items: int) -> Ints:
    """RecBole's id of each of ours, 0 (its padding) where it has none: [V + 1]."""
    ids = np.zeros(num_items + 1, dtype=np.int64)
    for token, number in train.field2token_id["item_id"].items():
        if token.isdigit():
            ids[int(token)] = number
    return ids

"""A trained model of clicks as a program: ids and numbers in, logits and probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from recsys.argument_types import typed
from recsys.data.batch import Batch
from recsys.data.schema import Column
from recsys.exporting.exportable import Exportable, Interface
from recsys.exporting.program_tables import BagInput, ProgramTables
from recsys.tasks import CTRTask

_EXAMPLE_ROWS = 3
"""Not 0 or 1, which torch would take for constants."""


class ClickProgram(nn.Module):
    """What a CTRTask computes in evaluation mode.

    Shape:
        ids [F1, B] and dense [B, num_dense], or None where the data have none; for each multi-valued feature values [N]
        and lengths [B] -> logits [B], probabilities [B]

    Args:
        task: trained; stays as it is.
    """

    @typed
    def __init__(self, task: CTRTask) -> None:
        super().__init__()
        self.tables = ProgramTables(task.collection)
        self.model = copy.deepcopy(task.model).cpu().eval().requires_grad_(False)
        self.model._compiled_call_impl = None  # What torch.compile made of it is of the process that trained.

    def forward(
        self, ids: Tensor | None = None, dense: Tensor | None = None, bags: Mapping[str, BagInput] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score a batch."""
        vectors = self.tables(ids, bags or {})
        logits = self.model(vectors, vectors.new_zeros(vectors.shape[0], 0) if dense is None else dense).float()
        return logits, torch.sigmoid(logits)


class ExportableClicks(Exportable):
    """See Exportable.

    Args:
        task: trained.
    """

    @typed
    def __init__(self, task: CTRTask) -> None:
        self._task, self._schema = task.eval(), task.schema
        self.program = ClickProgram(task).eval()
        self.interface = self._interface()
        self.vocabularies = [column.name for column in self._schema.columns]

    def _interface(self) -> Interface:
        schema, rows = self._schema, Dim("batch", min=1)
        example: dict[str, Any] = {}
        shapes: dict[str, Any] = {}
        if schema.categorical:
            example["ids"] = torch.zeros(len(schema.categorical), _EXAMPLE_ROWS, dtype=torch.int64)
            shapes["ids"] = {1: rows}
        if schema.dense:
            example["dense"], shapes["dense"] = torch.zeros(_EXAMPLE_ROWS, len(schema.dense)), {0: rows}
        names = list(example)
        if schema.multi_valued:
            example["bags"], shapes["bags"] = {}, {}
        for number, column in enumerate(schema.multi_valued):
            # Sizes that are equal would be taken for one.
            lengths = torch.tensor([2, 0, 2 + number])
            values = torch.zeros(int(lengths.sum()), dtype=torch.int64)
            example["bags"][column.name] = (values, lengths)
            shapes["bags"][column.name] = ({0: Dim(f"values_{number}", min=0)}, {0: rows})
            names += [f"{column.name}.values", f"{column.name}.lengths"]
        return Interface(example, shapes, names, ("logit", "probability"))

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """See Exportable."""
        bags = {name: (bag.values.long(), bag.lengths.long()) for name, bag in batch.bags.items()}
        every = {"ids": batch.ids.long(), "dense": batch.dense, "bags": bags}
        return {name: every[name] for name in self.interface.example}

    @torch.no_grad()
    def expected(self, batch: Batch) -> tuple[Tensor, ...]:
        """See Exportable."""
        logits = self._task(batch.to(self._task.device)).cpu()
        return logits, torch.sigmoid(logits)

    def described(self) -> dict[str, Any]:
        """See Exportable."""
        schema = self._schema
        found: dict[str, Any] = {}
        if schema.categorical:
            features = [self._of_column(column) for column in schema.categorical]
            found["ids"] = {"dtype": "int64", "shape": [len(features), "batch"], "features": features}
        if schema.dense:
            found["dense"] = {"dtype": "float32", "shape": ["batch", len(schema.dense)], "columns": list(schema.dense)}
        if schema.multi_valued:
            found["bags"] = {
                column.name: {"values": "int64 [values]", "lengths": "int64 [batch]", **self._of_column(column)}
                for column in schema.multi_valued
            }
        return found

    def _of_column(self, column: Column) -> dict[str, Any]:
        """What an id of a column stands for."""
        found: dict[str, Any] = {"name": column.name, "num_ids": column.num_embeddings}
        vocabulary = self._schema.path / "vocabulary" / f"{column.name}.parquet"
        if vocabulary.is_file():
            found["vocabulary"] = f"vocabulary/{column.name}.parquet"
        elif self._schema.hash_bits is not None:
            found["hash_bits"] = self._schema.hash_bits
        return found

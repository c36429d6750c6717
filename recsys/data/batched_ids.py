"""Ids of many rows, laid out so that those of each batch lie side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class BatchedIds:
    """Ids [F, n], batch after batch, of which the first and the last may go on in other rows.

    Whoever writes the ids may do so feature by feature, in any thread; whoever trains then copies nothing.

    Args:
        values: [F * n], to be filled in.
        num_features: F.
        num_begun: rows of the batch that was begun with earlier rows and that these go on with; 0 if none was.
        batch_size: rows B of a batch.
    """

    def __init__(self, values: Tensor, num_features: int, num_begun: int, batch_size: int) -> None:
        self._values, self._array = values, values.numpy()
        self.num_features = num_features
        num_rows = len(values) // num_features if num_features else 0
        head = min((batch_size - num_begun) % batch_size, num_rows)
        whole = (num_rows - head) // batch_size
        # Batches of equal size are filled in at once.
        self._cuts = (0, head, head + whole * batch_size, num_rows)
        self._sizes = (head, batch_size, num_rows - self._cuts[2])

    def fill(self, feature: int, ids: Array, picked: Array | slice) -> None:
        """Write ids[picked] [n] where the batches have this feature."""
        # To pick first and lay out then is faster than to pick into places that lie apart.
        chosen = ids[picked] if isinstance(picked, slice) else np.take(ids, picked, mode="clip")
        for (start, stop), size in zip(pairwise(self._cuts), self._sizes, strict=True):
            if start == stop:
                continue
            blocks = self._array[self.num_features * start : self.num_features * stop]
            blocks.reshape(-1, self.num_features, size)[:, feature] = chosen[start:stop].reshape(-1, size)

    def between(self, start: int, stop: int) -> Tensor:
        """The ids [F, stop - start] of the rows of one batch, all that are here: no copy."""
        return self._values[self.num_features * start : self.num_features * stop].view(self.num_features, stop - start)

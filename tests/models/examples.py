"""One small example of every model and option, with its slow loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch

from recsys import models
from tests.models import loops

NUM_FEATURES, EMBEDDING_DIM = 5, 4
CONTEXTS = ((0, 3), (6, 2))


@dataclass
class Example:
    model: type[torch.nn.Module]
    loop: object
    options: dict = field(default_factory=dict)
    num_dense: int = 3

    def build(self, **options):
        """The model in float64, with no parameter left at zero."""
        torch.manual_seed(0)
        model = self.model(NUM_FEATURES, EMBEDDING_DIM, self.num_dense, **{**self.options, **options}).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return model

    def inputs(self, batch_size, seed=1):
        generator = torch.Generator().manual_seed(seed)
        embeddings = torch.randn(batch_size, NUM_FEATURES, EMBEDDING_DIM, generator=generator, dtype=torch.float64)
        dense = torch.randn(batch_size, self.num_dense, generator=generator, dtype=torch.float64)
        return embeddings.requires_grad_(), dense

    def __str__(self):
        words = [self.model.__name__, *(f"{key}={value}" for key, value in self.options.items() if "dims" not in key)]
        return " ".join([*words, f"num_dense={self.num_dense}"])


HIDDEN = {"hidden_dims": (7, 6)}
STREAMS = {"stream1_dims": (7, 6), "stream2_dims": (4,), "num_heads": 2}
GATES = {"gate_dims": (5,), "gate1_context": CONTEXTS[0], "gate2_context": CONTEXTS[1]}

EXAMPLES = [
    Example(models.LogisticRegression, loops.logistic_regression),
    Example(models.LogisticRegression, loops.logistic_regression, num_dense=0),
    Example(models.DLRM, loops.dlrm, {"bottom_dims": (6,), "top_dims": (7, 5)}),
    Example(models.DLRM, loops.dlrm, {"top_dims": (7,)}, num_dense=0),
    Example(models.DLRM, loops.dlrm, {"bottom_dims": (), "top_dims": ()}),
    Example(models.DeepFM, loops.deepfm, HIDDEN),
    Example(models.DeepFM, loops.deepfm, {"hidden_dims": ()}, num_dense=0),
    Example(models.DCNv2, loops.dcnv2, HIDDEN),
    Example(models.DCNv2, loops.dcnv2, {"low_rank": 3, "num_cross_layers": 2, **HIDDEN}, num_dense=0),
    Example(models.StackedDCNv2, loops.stacked_dcnv2, HIDDEN),
    Example(models.StackedDCNv2, loops.stacked_dcnv2, {"low_rank": 2, **HIDDEN}, num_dense=0),
    Example(models.FinalMLP, loops.finalmlp, STREAMS),
    Example(models.FinalMLP, loops.finalmlp, {"gate_dims": (), **STREAMS}, num_dense=0),
    Example(models.FinalMLP, partial(loops.finalmlp, contexts=CONTEXTS), {**GATES, **STREAMS}),
]

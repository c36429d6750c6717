"""What models cannot be given, a line each, and what the sentence must name."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from recsys import models

VECTORS, LENGTHS = torch.randn(4, 5, 8), tensor([3, 5, 1, 2])
NESTED = torch.nested.nested_tensor([torch.randn(5, 8), torch.randn(3, 8)])
SESSION_MODELS = ["BERT4Rec", "GRU4Rec", "HSTU", "M2TRec", "SASRec"]
CLICK_MODELS = ["DCNv2", "DLRM", "DeepFM", "FinalMLP", "LogisticRegression", "StackedDCNv2"]

SESSIONS = {
    "a list": ((VECTORS.tolist(), LENGTHS), "vectors .* got list"),
    "nothing": ((None, LENGTHS), "vectors .* got NoneType"),
    "another width": ((VECTORS.repeat(1, 1, 2), LENGTHS), r"vectors .*\[B, L, 8\], got \[4, 5, 16\]"),
    "one session": ((VECTORS.flatten(0, 1), LENGTHS), r"vectors .* got \[20, 8\]"),
    "integers": ((VECTORS.long(), LENGTHS), "vectors .* floating-point .* got .*int64"),
    "float64": ((VECTORS.double(), LENGTHS), "vectors .* torch.float32 on 'cpu', got torch.float64"),
    "without values": ((VECTORS.to("meta"), LENGTHS), "vectors .* got .* 'meta'"),
    "sparse": ((VECTORS.to_sparse(), LENGTHS), "vectors .* sparse"),
    "nested": ((NESTED, tensor([5, 3])), "vectors .* nested"),
    "quantised": ((torch.quantize_per_tensor(VECTORS, 0.1, 0, torch.qint8), LENGTHS), "vectors .* quantised"),
    "too few lengths": ((VECTORS, LENGTHS[:2]), r"lengths .*B=4\], got \[2\]"),
    "lengths of floats": ((VECTORS, LENGTHS.float()), "lengths must be integers"),
    "lengths in a list": ((VECTORS, LENGTHS.tolist()), "lengths .* got list"),
    "a negative length": ((VECTORS, -LENGTHS), r"lengths must be in \[0, L=5\], got -5"),
    "into the next session": ((VECTORS, tensor([6, 5, 1, 2])), r"lengths must be in \[0, L=5\], got 6"),
    "times of sessions": ((VECTORS, LENGTHS, torch.arange(4)), r"times .* got \[4\]"),
    "bool times": ((VECTORS, LENGTHS, torch.ones(4, 5, dtype=torch.bool)), "times must be real numbers"),
    "masked by numbers": ((VECTORS, LENGTHS, None, torch.ones(4, 5)), "masked must be bool"),
}


@pytest.mark.parametrize("name", SESSION_MODELS)
@pytest.mark.parametrize("case", SESSIONS)
def test_sessions_that_cannot_be_read_are_refused(name, case):
    arguments, message = SESSIONS[case]
    model = getattr(models, name)(8, 6)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        model(*arguments)


EMBEDDINGS, DENSE = torch.randn(4, 3, 8), torch.randn(4, 2)
CLICKS = {
    "nested": ((NESTED, DENSE), "embeddings .* nested"),
    "half precision": ((EMBEDDINGS.half(), DENSE.half()), "dtype, torch.float32, got torch.float16"),
    "without values": ((EMBEDDINGS.to("meta"), DENSE.to("meta")), "device .* got 4 on 'meta'"),
}


@pytest.mark.parametrize("name", CLICK_MODELS)
@pytest.mark.parametrize("case", CLICKS)
def test_clicks_that_cannot_be_read_are_refused(name, case):
    arguments, message = CLICKS[case]
    options = {"num_heads": 2, "stream1_dims": [8], "stream2_dims": [8]} if name == "FinalMLP" else {}
    options = {"bottom_dims": [8, 8]} if name == "DLRM" else options
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        getattr(models, name)(3, 8, 2, **options)(*arguments)


@pytest.mark.parametrize("name", ["SumFusion", "ConcatFusion"])
@pytest.mark.parametrize("vectors", [None, EMBEDDINGS.long(), EMBEDDINGS[:, :2], EMBEDDINGS.flatten(), NESTED])
def test_vectors_of_other_sizes_are_not_fused(name, vectors):
    with pytest.raises(ValueError, match=rf"{name}: vectors must be floating-point numbers \[N, 3, 8\]"):
        getattr(models, name)(3, 8)(vectors)

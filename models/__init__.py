"""Models in plain PyTorch.

Click models: embeddings [B, F, D] and dense features [B, num_dense] in, logits [B] out. Session models: item vectors
[B, L, D], lengths [B] and times [B, L] in, hidden states [B, L, D] out.
"""

from recsys.models.bert4rec import BERT4Rec
from recsys.models.dcn import DCNv2, StackedDCNv2
from recsys.models.deepfm import DeepFM
from recsys.models.dlrm import DLRM
from recsys.models.finalmlp import FinalMLP
from recsys.models.gru4rec import GRU4Rec
from recsys.models.hstu import HSTU
from recsys.models.logistic_regression import LogisticRegression
from recsys.models.sasrec import SASRec

CLICK_MODELS = (DLRM, DCNv2, DeepFM, FinalMLP, LogisticRegression, StackedDCNv2)
SESSION_MODELS = (BERT4Rec, GRU4Rec, HSTU, SASRec)

__all__ = [
    "CLICK_MODELS",
    "DLRM",
    "HSTU",
    "SESSION_MODELS",
    "BERT4Rec",
    "DCNv2",
    "DeepFM",
    "FinalMLP",
    "GRU4Rec",
    "LogisticRegression",
    "SASRec",
    "StackedDCNv2",
]

"""Models in plain PyTorch.

Click models: embeddings [B, F, D] and dense features [B, num_dense] in, logits [B] out. Session models: item vectors
[B, L, D], lengths [B] and times [B, L] in, hidden states [B, L, D] out. Fusions: the
vectors of an item's features [N, F, D] in, one vector [N, D] out.
"""

from recsys.models.bert4rec import BERT4Rec
from recsys.models.dcn import DCNv2, StackedDCNv2
from recsys.models.deepfm import DeepFM
from recsys.models.dlrm import DLRM
from recsys.models.finalmlp import FinalMLP
from recsys.models.fusion import ConcatFusion, SumFusion
from recsys.models.gru4rec import GRU4Rec
from recsys.models.hstu import HSTU
from recsys.models.logistic_regression import LogisticRegression
from recsys.models.m2trec import M2TRec
from recsys.models.pisa import PISA
from recsys.models.sasrec import SASRec

CLICK_MODELS = (DLRM, DCNv2, DeepFM, FinalMLP, LogisticRegression, StackedDCNv2)
SESSION_MODELS = (BERT4Rec, GRU4Rec, HSTU, M2TRec, SASRec)

__all__ = [
    "CLICK_MODELS",
    "DLRM",
    "HSTU",
    "PISA",
    "SESSION_MODELS",
    "BERT4Rec",
    "ConcatFusion",
    "DCNv2",
    "DeepFM",
    "FinalMLP",
    "GRU4Rec",
    "LogisticRegression",
    "M2TRec",
    "SASRec",
    "StackedDCNv2",
    "SumFusion",
]

"""Click models in plain PyTorch: embeddings [B, F, D] and dense features [B, num_dense] in, logits [B] out."""

from recsys.models.dcn import DCNv2, StackedDCNv2
from recsys.models.deepfm import DeepFM
from recsys.models.dlrm import DLRM
from recsys.models.finalmlp import FinalMLP
from recsys.models.logistic_regression import LogisticRegression

__all__ = ["DLRM", "DCNv2", "DeepFM", "FinalMLP", "LogisticRegression", "StackedDCNv2"]

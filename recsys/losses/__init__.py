"""Losses of next-item prediction, how scores are made, and where negatives come from."""

from recsys.losses.base import Catalogue, Loss, Step, read_once
from recsys.losses.full import FullCrossEntropy, linear_cross_entropy, log_totals
from recsys.losses.sampled import GBCE, BinaryCrossEntropy, SampledLoss, SampledSoftmax
from recsys.losses.samplers import InBatchSampler, PopularitySampler, Sampler, UniformSampler
from recsys.losses.scoring import Cosine, DotProduct, Scoring

__all__ = [
    "GBCE",
    "BinaryCrossEntropy",
    "Catalogue",
    "Cosine",
    "DotProduct",
    "FullCrossEntropy",
    "InBatchSampler",
    "Loss",
    "PopularitySampler",
    "SampledLoss",
    "SampledSoftmax",
    "Sampler",
    "Scoring",
    "Step",
    "UniformSampler",
    "linear_cross_entropy",
    "log_totals",
    "read_once",
]

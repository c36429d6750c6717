"""RQ-VAE: an autoencoder whose middle is a residual quantiser, trained by Lightning.

Source: Rajput et al., "Recommender systems with generative retrieval" (NeurIPS 2023), arXiv:2305.05065.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from recsys.argument_types import check_fields
from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.content import Matrix, Vectors
from recsys.prepare.semantic.quantiser_checks import check_sizes, check_values, checked_matrix
from recsys.semantic_ids.averaged_quantiser import AveragedQuantiser
from recsys.semantic_ids.residual_quantiser import ResidualQuantiser

_BLOCK_ROWS = 1 << 14
_START_ROWS = 1 << 14


@dataclass(frozen=True)
class RQVAESettings:
    """How an RQ-VAE is made and trained.

    Args:
        hidden_dims: of the encoder; the decoder has them in reverse.
        latent_dim: width of what is quantised.
        commitment: beta.
        learning_rate: of Adam.
        batch_size: items of a step.
        num_steps: of training.
        revive_steps: codes that nothing chose for so many steps, or with `ema_decay` hardly anything, are moved, up to
            the last fifth of training.
        ema_decay: codebooks are moving averages of what chose them, of which a step leaves so much; None trains them by
            their gradients.
    """

    hidden_dims: tuple[int, ...] = (512, 256, 128)
    latent_dim: int = 32
    commitment: float = 0.25
    learning_rate: float = 1e-3
    batch_size: int = 1024
    num_steps: int = 3000
    revive_steps: int = 50
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        sizes = {f"hidden_dims[{place}]": size for place, size in enumerate(self.hidden_dims)}
        counts = {name: getattr(self, name) for name in ("latent_dim", "batch_size", "num_steps", "revive_steps")}
        check_sizes("RQVAESettings", **sizes, **counts)
        for name, least in (("commitment", 0.0), ("learning_rate", math.ulp(0.0))):
            value = getattr(self, name)
            if not least <= value < math.inf:
                above = "at least 0" if least == 0 else "above 0"
                raise ValueError(f"RQVAESettings: {name} must be {above} and finite, got {value}.")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"RQVAESettings: ema_decay must be in [0, 1), got {self.ema_decay}.")


class RQVAE(LightningModule):
    """The autoencoder.

    Args:
        dim: T of the vectors.
        num_levels: L.
        num_codes: K.
        settings: of model and training.
        seed: of what is drawn.
    """

    def __init__(self, dim: int, num_levels: int, num_codes: int, settings: RQVAESettings, seed: int) -> None:
        super().__init__()
        self._settings = settings
        dims = [dim, *settings.hidden_dims, settings.latent_dim]
        self.encoder, self.decoder = mlp(dims), mlp(dims[::-1])
        sizes = (num_levels, num_codes, settings.latent_dim, settings.commitment)
        decay = settings.ema_decay
        self.quantiser = ResidualQuantiser(*sizes) if decay is None else AveragedQuantiser(*sizes, decay=decay)
        self._generator = torch.Generator().manual_seed(seed)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Squared error of the rebuilt vectors, and the quantiser's loss."""
        (vectors,) = batch
        found = self.quantiser(self.encoder(vectors))
        loss: Tensor = (self.decoder(found.vectors) - vectors).square().sum(1).mean() + found.loss
        steps = self._settings.revive_steps
        if (self.global_step + 1) % steps == 0 and self.global_step < 0.8 * self._settings.num_steps:
            self._forget(self.quantiser.revive(found.residuals, self._generator))
        return loss

    def _forget(self, moved: Sequence[Tensor]) -> None:
        """A code that was moved starts with fresh moments."""
        state = self.trainer.optimizers[0].state.get(self.quantiser.books, {})
        for moments in (value for key, value in state.items() if key != "step"):
            for level, codes in enumerate(moved):
                moments[level, codes] = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam for all."""
        return torch.optim.Adam(self.parameters(), lr=self._settings.learning_rate)


def mlp(dims: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(dims):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class TrainedRQVAE:
    """A trained RQ-VAE, which gives vectors their codes.

    Args:
        model: trained.
        mean: [T] taken off vectors first.
        scale: that they are divided by.
    """

    def __init__(self, model: RQVAE, mean: Matrix, scale: float) -> None:
        self._model = model.eval().cpu()
        self._mean, self._scale = mean, scale

    @torch.no_grad()
    def codes(self, vectors: Vectors) -> Codes:
        """The codes of each item.

        Raises:
            ValueError: if the vectors are not finite, or of another width.
        """
        given, found = checked_matrix("TrainedRQVAE.codes", vectors.values, len(self._mean)), []
        for start in range(0, len(given), _BLOCK_ROWS):
            block = (given[start : start + _BLOCK_ROWS] - self._mean) / self._scale
            latent = self._model.encoder(torch.from_numpy(block.astype(np.float32)))
            found.append(self._model.quantiser(latent).codes.numpy())
        num_levels, num_codes, _ = self._model.quantiser.books.shape
        values = np.concatenate(found) if found else np.empty((0, num_levels), np.int64)
        return Codes(vectors.items, values, num_codes)

    @torch.no_grad()
    def rebuilt(self, values: NDArray[np.int64]) -> Matrix:
        """The vectors [M, T] that codes [M, L] stand for.

        Raises:
            ValueError: if they are no codes of these books.
        """
        check_values("TrainedRQVAE.rebuilt", values, *self._model.quantiser.books.shape[:2])
        codes = torch.from_numpy(values)
        latent = sum(book[own] for book, own in zip(self._model.quantiser.books, codes.t(), strict=True))
        rebuilt: Matrix = self._model.decoder(latent).numpy() * self._scale + self._mean
        return rebuilt

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of, for a file."""
        weights = {f"rq_{name}": value.numpy() for name, value in self._model.state_dict().items()}
        return {**weights, "mean": self._mean, "scale": np.array(self._scale)}

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> TrainedRQVAE:
        """What gave these."""
        state = {name[3:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("rq_")}
        num_levels, num_codes, latent_dim = state["quantiser.books"].shape
        widths = [len(value) for name, value in state.items() if name.startswith("encoder.") and name.endswith("bias")]
        settings = RQVAESettings(hidden_dims=tuple(widths[:-1]), latent_dim=latent_dim)
        model = RQVAE(len(arrays["mean"]), num_levels, num_codes, settings, 0)
        model.load_state_dict(state)
        return TrainedRQVAE(model, arrays["mean"], float(arrays["scale"]))


def fit_rq_vae(
    vectors: Matrix, num_levels: int, num_codes: int, seed: int, settings: RQVAESettings | None = None
) -> TrainedRQVAE:
    """Train on vectors [M, T], which are centred and scaled alike to a mean square of 1.

    Raises:
        ValueError: if the vectors are no finite matrix, a size is below 1, there are fewer vectors than codes, or
            training has not stayed finite.
    """
    vectors = checked_matrix("fit_rq_vae", vectors)
    check_sizes("fit_rq_vae", num_levels=num_levels, num_codes=num_codes)
    settings = settings or RQVAESettings()
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float(np.sqrt(((vectors - mean) ** 2).mean())) or 1.0
    inputs = torch.from_numpy((vectors - mean) / np.float32(scale))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RQVAE(inputs.shape[1], num_levels, num_codes, settings, seed)
    with torch.no_grad():
        sample = torch.randperm(len(inputs), generator=generator)[: max(_START_ROWS, 4 * num_codes)]
        model.quantiser.start(model.encoder(inputs[sample]), seed)
    batches = DataLoader(TensorDataset(inputs), settings.batch_size, shuffle=True, generator=generator)
    _quiet_trainer(settings.num_steps).fit(model, batches)
    if not all(bool(value.isfinite().all()) for value in model.parameters()):
        raise ValueError(
            f"fit_rq_vae: training has not stayed finite; lower RQVAESettings.learning_rate={settings.learning_rate}."
        )
    return TrainedRQVAE(model, mean, scale)


def _quiet_trainer(num_steps: int) -> Trainer:
    """On one device, with nothing left behind."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return Trainer(
        max_steps=num_steps,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )

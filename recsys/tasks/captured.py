"""The dense part of a step, forward and backward, replayed as CUDA graphs: a GPU then waits for no launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Key = tuple[Any, ...]


class CapturedLoss:
    """A scalar of a module and of tensors, captured the first time it is asked for, and replayed from then on.

    Batches of another shape, as the last one of an epoch may be, are computed without the graphs; so is everything
    while the module is evaluated. Where parameters are frozen, thawed or moved, it is captured anew.

    Args:
        module: whose parameters the scalar depends on.
        function: of some tensors, calling the module.
        keep: called before a backward pass, moves gradients that wait out of the graphs' own memory: the pass writes
            there anew.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Tensor], keep: Callable[[], None]) -> None:
        self._module = module
        self._function = function
        self._keep = keep
        self._shapes: Key | None = None
        self._parameters: Key | None = None
        self._replay: Callable[..., Tensor] | None = None
        self._accumulators: list[Any] = []
        self._own: list[nn.Parameter] = []

    def __getstate__(self) -> dict[str, Any]:
        """A copy captures by itself."""
        fresh = {"_shapes": None, "_parameters": None, "_replay": None, "_accumulators": [], "_own": []}
        return {**self.__dict__, **fresh}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The scalar, of tensors on a GPU.

        Raises:
            ValueError: if they are not on a GPU, or the module does what no graph can hold.
        """
        if tensors[0].device.type != "cuda":
            raise ValueError(
                f"capture_model=True needs a GPU, got tensors on {tensors[0].device}; leave it at False there."
            )
        if not (self._module.training and torch.is_grad_enabled()):
            return self._function(*tensors)
        shapes = tuple((each.shape, each.dtype, each.requires_grad) for each in tensors)
        # The modules are walked once: that takes longer than all else here.
        self._own = self._own or list(self._module.parameters())
        parameters = tuple((each.data_ptr(), each.requires_grad) for each in self._own)
        if parameters != self._parameters:
            self._shapes, self._parameters = None, parameters
        if self._shapes is None:
            self._replay, self._shapes = self._capture(tensors), shapes
        if shapes != self._shapes or self._replay is None:
            return self._function(*tensors)
        scalar = self._replay(*tensors)
        if scalar.requires_grad:
            scalar.register_hook(lambda _: self._keep())
        return scalar

    def _capture(self, tensors: Sequence[Tensor]) -> Callable[..., Tensor]:
        """Graphs for tensors like these; buffers and random numbers are as if nothing had run."""
        # Made by the graphs, they would belong to the stream of the capture, and every gradient be waited for.
        own = (each for each in self._own if each.requires_grad)
        self._accumulators = [each.view_as(each).grad_fn.next_functions[0][0] for each in own]  # type: ignore[union-attr]
        samples = tuple(each.detach().clone().requires_grad_(each.requires_grad) for each in tensors)
        device = tensors[0].device
        random_state = torch.cuda.get_rng_state(device)
        buffers = [(each, each.clone()) for each in self._module.buffers()]
        try:
            # Cached casts of weights would be those of one step, replayed in all.
            with torch.autocast(
                "cuda",
                dtype=torch.get_autocast_dtype("cuda"),
                enabled=torch.is_autocast_enabled("cuda"),
                cache_enabled=False,
            ):
                graphed = torch.cuda.make_graphed_callables(_Called(self._module, self._function), samples)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self._module).__name__} cannot be captured in a CUDA graph; set capture_model to False. "
                f"({str(error).splitlines()[0]})"
            ) from error
        torch.cuda.set_rng_state(random_state, device)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        return graphed


class _Called(nn.Module):
    """A function as a module, whose parameters the graphs must know."""

    def __init__(self, module: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self._function = function
        self.train(module.training)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._function(*tensors)

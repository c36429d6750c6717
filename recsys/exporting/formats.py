"""The files that a program is written to, and how each is read again."""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from recsys.exporting.exportable import Interface

Run = Callable[[Mapping[str, Any]], tuple[Tensor, ...]]
"""What a written program gives of its arguments."""

_ONNX_FILE_BYTES = 1 << 30
"""Beyond 2 GiB an ONNX file holds no weights; they go beside it well before."""
_MOST_WORDS = 300


class Format(ABC):
    """One way to write a program.

    Attributes:
        file: its name.
    """

    file: ClassVar[str]

    @abstractmethod
    def write(self, program: nn.Module, interface: Interface, path: Path) -> None:
        """Write a program in evaluation mode."""

    @abstractmethod
    def read(self, path: Path, interface: Interface) -> Run:
        """The program that a file holds."""


class TorchProgram(Format):
    """`torch.export`'s own: one file that torch alone reads, at any batch size."""

    file = "model.pt2"

    def write(self, program: nn.Module, interface: Interface, path: Path) -> None:
        """See Format."""
        with _making():
            exported = torch.export.export(
                program,
                (),
                kwargs=dict(interface.example),
                dynamic_shapes=dict(interface.shapes),
                # What torch cannot prove of sizes, such as min(B, 2 * B) == B, is checked when the program runs.
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        torch.export.save(exported, path)

    def read(self, path: Path, interface: Interface) -> Run:
        """See Format."""
        program = torch.export.load(path).module()

        def run(arguments: Mapping[str, Any]) -> tuple[Tensor, ...]:
            found = program(**arguments)
            return (found,) if isinstance(found, Tensor) else found

        return run


class OnnxProgram(Format):
    """ONNX, for its runtimes in other languages; ids out of range are not noticed there.

    Raises:
        ModuleNotFoundError: if what writes it is not installed.
    """

    file = "model.onnx"

    def __init__(self) -> None:
        import onnxscript  # noqa: F401

    def write(self, program: nn.Module, interface: Interface, path: Path) -> None:
        """See Format; weights of more than a gigabyte lie beside the file."""
        with _making():
            exported = torch.onnx.export(
                program,
                (),
                kwargs=dict(interface.example),
                dynamic_shapes=dict(interface.shapes),
                input_names=list(interface.inputs),
                output_names=list(interface.outputs),
                dynamo=True,
                verbose=False,
            )
        assert exported is not None
        size = sum(each.numel() * each.element_size() for each in program.state_dict().values())
        exported.save(path, external_data=size > _ONNX_FILE_BYTES)

    def read(self, path: Path, interface: Interface) -> Run:
        """See Format: by ONNX' own slow interpreter, which is there wherever files are written."""
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))

        def run(arguments: Mapping[str, Any]) -> tuple[Tensor, ...]:
            leaves = tree_leaves({name: arguments[name] for name in interface.example})
            feeds = {name: each.numpy() for name, each in zip(interface.inputs, leaves, strict=True)}
            return tuple(map(torch.from_numpy, evaluator.run(None, feeds)))

        return run


FORMATS: Mapping[str, type[Format]] = {"pt2": TorchProgram, "onnx": OnnxProgram}


@contextmanager
def _making() -> Iterator[None]:
    """Without torch's words on operators that no program here has; what stops it in a sentence.

    Raises:
        ValueError: if the model does what no program can.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        said = " ".join(str(error.__cause__ or error).split())[:_MOST_WORDS]
        raise ValueError(
            f"torch cannot make a program of this model ({type(error).__name__}: {said}); its steps must not depend on "
            "the values of its inputs."
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

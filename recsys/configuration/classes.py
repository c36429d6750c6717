"""The classes that a config may name by their short names, and their arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection


def own_classes() -> dict[str, type]:
    """Those of this project."""
    import recsys.baselines
    import recsys.data
    import recsys.losses
    import recsys.models
    import recsys.tables
    import recsys.tasks
    from recsys.sharding.strategy import TorchrecStrategy

    modules = (recsys.baselines, recsys.data, recsys.losses, recsys.models, recsys.tables, recsys.tasks)
    found = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__.startswith(module.__name__)
    }
    return {**found, "TorchrecStrategy": TorchrecStrategy}


def all_classes() -> dict[str, type]:
    """Those, Lightning's callbacks and the trainer."""
    from lightning.pytorch import Trainer, callbacks

    theirs = {name: value for name, value in vars(callbacks).items() if isinstance(value, type)}
    return {**theirs, "Trainer": Trainer, **own_classes()}


def classes_of(kinds: Collection[str]) -> list[str]:
    """Names of the classes that can be made and are, or inherit from, one of these; kinds are import paths."""
    return sorted(
        name
        for name, found in all_classes().items()
        if not inspect.isabstract(found)
        and any(f"{base.__module__}.{base.__qualname__}" in kinds for base in found.mro())
    )


def classes_below(kind: str) -> list[str]:
    """Names of the classes that can be made and inherit from the one of this short name, or are it."""
    return sorted(
        name
        for name, found in all_classes().items()
        if not inspect.isabstract(found) and any(base.__name__ == kind for base in found.mro())
    )


def parameters(class_name: str) -> list[str]:
    """Arguments of a class, by its short name or its import path; none if there is none, or it is made in C."""
    module, _, name = class_name.rpartition(".")
    found = getattr(sys.modules.get(module), name, None) or all_classes().get(name)
    if found is None:
        return []
    try:
        signature = inspect.signature(found)
    except ValueError:  # torch.Tensor and its like are made in C
        return []
    return [name for name in signature.parameters if name != "self"]


def takers(argument: str, beside: str) -> list[str]:
    """Classes of this project that take an argument: those of the package of class `beside` if any do, else all."""
    own = {name: found for name, found in own_classes().items() if not inspect.isabstract(found)}
    found = sorted(name for name in own if argument in parameters(name))
    package = getattr(all_classes().get(beside), "__module__", "").rpartition(".")[0]
    return [name for name in found if own[name].__module__.startswith(f"{package}.")] or found

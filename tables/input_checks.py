"""What cannot be ids, bags, offsets or lengths of a batch, in a sentence that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.contract_checks import check_made
from recsys.tables.features import Bag, Feature
from recsys.tables.placement import INTEGERS, check_same_device


def check_table(owner: str, table: object) -> None:
    """Refuse what is no table.

    Raises:
        TypeError: saying what the owner, a class, takes, or that the table is not made.
    """
    if not isinstance(table, Table):
        raise TypeError(
            f"{owner} takes a table, as {owner}(QRTable('item', num_embeddings, embedding_dim)); got {table!r}."
        )
    check_made(table)


def check_ids(ids: Tensor, num_ids: Tensor | int, names: Sequence[str], of: Tensor | None = None) -> None:
    """Refuse ids that are no integers or out of range, at once on a CPU; on a GPU an assertion of the device does.

    So does one in the graph where the program is compiled or exported. Under vmap all samples are checked together.

    Args:
        ids: [F, N], or [N] of several features; of one feature, any shape.
        num_ids: [F] how many ids each feature has, or of the one feature.
        names: of the features.
        of: [N] the feature of each id; None where ids are [F, N], or of the one feature.

    Raises:
        ValueError: naming a feature and an id of it.
    """
    if not isinstance(ids, Tensor):
        raise ValueError(f"ids must be a Tensor of integers, got {type(ids).__name__}; torch.as_tensor makes one.")
    check_layout(ids)
    if torch.compiler.is_compiling():
        _assert_in_graph(ids, _limits(ids, num_ids, of), names)
        return
    if isinstance(num_ids, Tensor):
        check_same_device(f"features {', '.join(names)}", "ids", ids, num_ids.device)
    ids = _without_transforms(ids)
    if torch._C._get_tracing_state() is not None or not ids.numel():
        return
    limits = _limits(ids, num_ids, of)
    if ids.device.type == "cpu":
        if isinstance(limits, int):
            low, high = ids.aminmax()
            fine = int(low) >= 0 and int(high) < limits
        elif of is None and ids.dim() == 2:
            # One pass over the ids, and a comparison of one number a feature.
            low, high = ids.aminmax(dim=1)
            fine = not bool(((low < 0) | (high >= num_ids)).any())
        else:
            fine = not bool(((ids < 0) | (ids >= limits)).any())
        if not fine:
            _refuse_ids(ids, limits, names, of)
    elif ids.device.type == "cuda":
        _assert_in_graph(ids, limits, names)


def check_layout(ids: Tensor) -> None:
    """Refuse nested and sparse tensors, and integers that torch does little with; what is no Tensor is said elsewhere.

    Raises:
        ValueError: naming what was given.
    """
    if isinstance(ids, Tensor) and (ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool):
        reason = "" if ids.dtype == torch.bool else ": a float rounds ids above 2**24"
        raise ValueError(f"ids must be integers, got {ids.dtype}{reason}.")
    if isinstance(ids, Tensor) and (ids.dtype not in INTEGERS or ids.layout != torch.strided or ids.is_nested):
        kind = "a nested tensor" if ids.is_nested else f"{ids.dtype}, {ids.layout}".replace("torch.", "")
        raise ValueError(f"ids must be an ordinary tensor of int64, int32, int16, int8 or uint8, got {kind}.")


def check_whole(rows: Sequence[Tensor], table: Table, ids: Tensor) -> None:
    """Refuse ids of one process for rows of which it has a part, as fully_shard leaves them between its passes.

    Raises:
        ValueError: saying what to shard instead.
    """
    if any(hasattr(each, "full_tensor") for each in rows) and not hasattr(ids, "full_tensor"):
        raise ValueError(
            f"{type(table).__name__} '{table.name}': its rows are sharded, and put together only while the module runs "
            "that fully_shard was given; give it the one in which all that reads them is, a tied head or weight too."
        )


def _assert_in_graph(ids: Tensor, limits: Tensor | int, names: Sequence[str]) -> None:
    torch._assert_async(((ids >= 0) & (ids < limits)).all(), f"an id of {', '.join(names)} is out of range")


def _without_transforms(ids: Tensor) -> Tensor:
    """The values behind torch.func's transforms, those of all samples."""
    while torch._C._functorch.is_functorch_wrapped_tensor(ids):
        ids = torch._C._functorch.get_unwrapped(ids)
    return ids


def _limits(ids: Tensor, num_ids: Tensor | int, of: Tensor | None) -> Tensor | int:
    """How many ids there are, for each id."""
    if isinstance(num_ids, int):
        return num_ids
    return num_ids.index_select(0, of) if of is not None else num_ids.view(-1, *[1] * (ids.dim() - 1))


def _refuse_ids(ids: Tensor, limits: Tensor | int, names: Sequence[str], of: Tensor | None) -> None:
    wrong = ((ids < 0) | (ids >= limits)).nonzero()[0]
    if isinstance(limits, int):
        feature = 0
    else:
        feature = int(wrong[0]) if ids.dim() == 2 else 0 if of is None else int(of[wrong[0]])
    limit = limits if isinstance(limits, int) else int(limits.expand_as(ids)[tuple(wrong)])
    raise ValueError(
        f"feature '{names[feature]}': ids must be in [0, num_embeddings={limit}), got {int(ids[tuple(wrong)])}."
    )


def check_bags(
    bags: Mapping[str, Bag], features: Sequence[Feature], num_samples: int | None, dtype: torch.dtype
) -> None:
    """Refuse bags that are missing, of no such feature, or of another shape than the batch.

    Args:
        bags: of the multi-valued features.
        features: all features.
        num_samples: B; None if no feature has one id per sample.
        dtype: of the vectors.

    Raises:
        ValueError: naming the feature.
    """
    wanted = [feature for feature in features if feature.pooling is not None]
    if not isinstance(bags, Mapping):
        raise ValueError(f"bags must map multi-valued features to Bags, got {type(bags).__name__}.")
    other = sorted(set(bags) - {feature.name for feature in wanted}, key=str)
    if other:
        raise ValueError(
            f"bags are given of {other}, which are no multi-valued features; those are "
            f"{[feature.name for feature in wanted]}."
        )
    missing = [feature.name for feature in wanted if feature.name not in bags]
    if missing:
        raise ValueError(f"bags lack the multi-valued features {missing}; given: {sorted(bags)}.")
    for feature in wanted:
        bag = bags[feature.name]
        if not isinstance(bag, Bag) or any(not isinstance(each, Tensor) or each.dim() != 1 for each in bag.tensors()):
            raise ValueError(
                f"feature '{feature.name}': its ids must be a Bag of tensors of one dimension, got {bag!r}."
            )
        if bag.lengths.dtype not in INTEGERS:
            raise ValueError(f"feature '{feature.name}': lengths must be integers, got {bag.lengths.dtype}.")
        places = {each.device for each in bag.tensors()}
        if len(places) > 1:
            raise ValueError(
                f"feature '{feature.name}': its bag must be on one device, got {sorted(map(str, places))}."
            )
        num_samples = len(bag) if num_samples is None else num_samples
        if len(bag) != num_samples:
            raise ValueError(f"feature '{feature.name}': its bag has {len(bag)} samples, the batch {num_samples}.")
        if bag.weights is None:
            continue
        if feature.pooling != "sum":
            raise ValueError(f"feature '{feature.name}': weights go with pooling 'sum', got {feature.pooling!r}.")
        if bag.weights.shape != bag.values.shape:
            raise ValueError(
                f"feature '{feature.name}': weights must be one per id, {len(bag.values)}, got {len(bag.weights)}."
            )
        check_weights(f"feature '{feature.name}': weights", bag.weights, dtype)


def check_weights(what: str, weights: Tensor, dtype: torch.dtype) -> None:
    """Refuse weights of vectors that are no real numbers, and on a CPU those that are not finite in the vectors' dtype.

    Raises:
        ValueError: naming what was given.
    """
    if weights.dtype == torch.bool or weights.is_complex():
        raise ValueError(f"{what} must be real numbers, got {weights.dtype}.")
    if weights.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return
    if torch._C._functorch.is_functorch_wrapped_tensor(weights):
        return
    finite = weights.to(dtype).isfinite()
    if not bool(finite.all()):
        wrong = float(weights[~finite][0])
        raise ValueError(f"{what} must be finite{f' in {dtype}' if math.isfinite(wrong) else ''}, got {wrong}.")


def check_offsets(owner: str, offsets: Tensor, num_ids: int, with_last: bool) -> None:
    """Refuse places where bags begin that are none; their values on a CPU.

    Args:
        owner: for messages.
        offsets: [B], or [B + 1] with the number of ids behind them.
        num_ids: N.
        with_last: whether they end with the number of ids.

    Raises:
        ValueError: saying what is wrong.
    """
    if not isinstance(offsets, Tensor) or offsets.dim() != 1 or offsets.dtype not in INTEGERS:
        got = f"{list(offsets.shape)} of {offsets.dtype}" if isinstance(offsets, Tensor) else type(offsets).__name__
        raise ValueError(f"{owner}: offsets must be a Tensor [B] of integers, got {got}.")
    if num_ids and not offsets.shape[0]:
        raise ValueError(f"{owner}: offsets must begin with 0, got none for {num_ids} ids.")
    if with_last and not offsets.shape[0]:
        raise ValueError(f"{owner}: offsets must end with {num_ids}, the number of ids, got none.")
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or offsets.device.type != "cpu":
        return
    values = _without_transforms(offsets).reshape(-1).tolist()
    rising = all(first <= second for first, second in pairwise(values))
    if values and (values[0] != 0 or not rising or values[-1] > num_ids or (with_last and values[-1] != num_ids)):
        end = f"end with {num_ids}" if with_last else f"be at most {num_ids}"
        raise ValueError(f"{owner}: offsets must begin with 0, never fall and {end}, the number of ids, got {values}.")


def check_lengths(lengths: Tensor, counts: Sequence[int], names: Sequence[str]) -> None:
    """Refuse lengths that do not fit their ids; on a CPU, where the question costs little.

    Args:
        lengths: [F * B] of the bags of several features.
        counts: ids that each feature has.
        names: of the features.

    Raises:
        ValueError: naming the feature.
    """
    if lengths.device.type != "cpu" or not lengths.numel():
        return
    by_feature = lengths.view(len(names), -1)
    for name, least, total, count in zip(
        names, by_feature.amin(1).tolist(), by_feature.sum(1).tolist(), counts, strict=True
    ):
        if least < 0:
            raise ValueError(f"feature '{name}': lengths must be at least 0, got {least}.")
        if total != count:
            raise ValueError(f"feature '{name}': lengths add up to {total}, but there are {count} ids.")

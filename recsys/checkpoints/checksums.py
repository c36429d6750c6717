"""Checksums of tensors: what was saved is what is read, or the tensor that is not is named.

CRC-32, which reads a few gigabytes a second, of every tensor's bytes; for folders as they lie in the files, which the
processes of a run share among them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.checkpoints.tensors import joined_name
from recsys.tables.sharded.first_process import has_group

CHECKSUMS = "checksums"
"""The entry of a single file that holds them, by the keys that lead to each tensor."""

FileSums = dict[str, dict[str, int]]
"""Checksums by file and tensor."""

_LENGTH_BYTES = 8
_PIECE_BYTES = 1 << 24


def checksums(checkpoint: Any) -> dict[str, int]:
    """Of all tensors in dicts, lists and tuples, by the keys that lead there."""
    return {joined_name(keys): _of_tensor(value) for keys, value in _tensors(checkpoint, ())}


def verify(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """Take the checksums out of a file's content and compare them; of a file without any the archive has its own.

    Raises:
        ValueError: naming the file and the tensors that are not what was saved.
    """
    wanted = checkpoint.pop(CHECKSUMS, None)
    if wanted is None:
        return
    found = checksums(checkpoint)
    _refuse(path, [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)])


def file_checksums(files: Sequence[Path]) -> FileSums:
    """Of the tensors in files of safetensors, which all processes of the default group see and share."""
    rank, num_ranks = (dist.get_rank(), dist.get_world_size()) if has_group() else (0, 1)
    mine = {file.name: _of_file(file) for file in files[rank::num_ranks]}
    everyone: list[FileSums] = [mine] * num_ranks
    if num_ranks > 1:
        dist.all_gather_object(everyone, mine)
    return {name: sums for each in everyone for name, sums in each.items()}


def verify_files(path: str | Path, folder: Path, wanted: Mapping[str, Mapping[str, int]]) -> None:
    """Compare the tensors in a folder's files with what was saved; all processes must call this.

    Raises:
        ValueError: in all processes, naming the checkpoint and the tensors.
    """
    found = file_checksums([folder / name for name in wanted])
    pairs = [(name, tensor) for name in wanted for tensor in wanted[name]]
    wrong = [f"{tensor}' in '{name}" for name, tensor in pairs if found[name].get(tensor) != wanted[name][tensor]]
    _refuse(path, wrong)


def _refuse(path: str | Path, wrong: Sequence[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(
            f"checkpoint '{path}' is damaged, or has a part of another run: tensor '{wrong[0]}'{more} is not what was "
            "saved."
        )


def _tensors(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield keys, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(each, (*keys, key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _tensors(each, (*keys, number))


def _of_tensor(tensor: Tensor) -> int:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0)
    crc = zlib.crc32(f"{tensor.dtype} {list(tensor.shape)}".encode())
    for start in range(0, flat.numel(), _PIECE_BYTES):
        crc = zlib.crc32(flat[start : start + _PIECE_BYTES].cpu().numpy().data, crc)
    return crc


def _of_file(path: Path) -> dict[str, int]:
    """Of each tensor's bytes, as the header of the file says where they are."""
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header: dict[str, Any] = json.loads(file.read(num_bytes))
        found = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            file.seek(_LENGTH_BYTES + num_bytes + start)
            crc, left = 0, stop - start
            while left > 0:
                piece = file.read(min(left, _PIECE_BYTES))
                if not piece:
                    break
                crc, left = zlib.crc32(piece, crc), left - len(piece)
            found[name] = crc
    return found

"""Where the codes of a table's ids come from."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recsys.argument_types import check_fields
from recsys.tables.item_files import ids_of, read_parquet
from recsys.tables.item_fingerprints import check_fingerprint
from recsys.tables.numbers import check_number
from recsys.tables.routing.hashes import bucket, name_seed

MAX_LEVELS = 255
MOST_CODES = 1 << 31
_BLOCK_IDS = 1 << 20


@dataclass(frozen=True)
class ItemCodes:
    """Codes of ids.

    Args:
        codes: [L, V] in [0, num_codes), in the smallest dtype that holds them; what is missing is 0.
        lengths: uint8 [V] how many codes an id has, 0 to L.
        num_codes: K.
    """

    codes: Tensor
    lengths: Tensor
    num_codes: int


@dataclass(frozen=True)
class CodeSource(ABC):
    """Gives a table the codes of its ids."""

    @abstractmethod
    def load(self, owner: str, num_embeddings: int) -> ItemCodes:
        """The codes of ids 0 .. V-1.

        Raises:
            ValueError: naming the owner, if they cannot be had.
        """


@dataclass(frozen=True)
class CodeFile(CodeSource):
    """A Parquet file with columns item, code0, code1, ..., as `recsys semantic_ids` and others write it.

    Args:
        path: of the file.
        vocabulary: the Parquet file (id, value) of the prepared data, vocabulary/item.parquet: codes go by what items
            are called. Without it the column item holds ids.
        num_codes: K; by default what the file says, or its largest code and one.

    Raises:
        ValueError: in `load`, if the file has a fingerprint and it is of other items or codes.
    """

    path: str
    vocabulary: str | None = None
    num_codes: int | None = None

    def __post_init__(self) -> None:
        """Refuse fields of another type."""
        check_fields(self)

    def load(self, owner: str, num_embeddings: int) -> ItemCodes:
        """Read and join; ids that the file does not have are without codes."""
        hint = "make it with recsys semantic_ids, or, to take the codes of a checkpoint, give StoredCodes"
        table = read_parquet(owner, self.path, hint)
        file = f"{owner}: '{self.path}'"
        names = sorted((n for n in table.column_names if re.fullmatch(r"code\d+", n)), key=lambda n: int(n[4:]))
        if "item" not in table.column_names or names != [f"code{level}" for level in range(len(names))] or not names:
            raise ValueError(f"{file} must have columns item, code0, code1, ...")
        check_fingerprint(file, table, names)
        columns = [_code_column(owner, self.path, table[name], name) for name in names]
        said = (table.schema.metadata or {}).get(b"num_codes")
        num_codes = _num_codes(file, said.decode(errors="replace")) if said is not None else None
        if self.num_codes is not None:
            num_codes = _num_codes(owner, str(self.num_codes))
        ids = ids_of(owner, self.path, table["item"], self.vocabulary, num_embeddings)
        codes = torch.full((len(names), num_embeddings), -1, dtype=torch.int64)
        known = ids >= 0
        if not bool(known.any()):
            of_ids = "is an id of the table; give the vocabulary it is of"
            unknown = of_ids if self.vocabulary is None else f"is a value of '{self.vocabulary}'; it is of other data"
            raise ValueError(f"{owner}: no item of '{self.path}' {unknown}.")
        codes[:, ids[known]] = torch.stack(columns)[:, known]
        if not bool((codes[0] >= 0).any()):
            raise ValueError(f"{file} has no code of any id; make the codes again.")
        return packed(file, codes, None, num_codes)


def _code_column(owner: str, path: str, values: Any, name: str) -> Tensor:
    """The codes of one level, -1 where an item has none.

    Raises:
        ValueError: if they are no whole numbers from 0 that 31 bits hold.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(values.type) and not pa.types.is_null(values.type):
        raise ValueError(f"{owner}: column '{name}' of '{path}' must hold whole numbers, got {values.type}.")
    found = pc.min_max(values).as_py()
    for code in (found["min"], found["max"]):
        if code is not None and not 0 <= code < MOST_CODES:
            raise ValueError(
                f"{owner}: column '{name}' of '{path}' holds {code}; codes are at least 0 and below {MOST_CODES}, a "
                "missing one null."
            )
    return torch.from_numpy(pc.fill_null(values.cast(pa.int64()), -1).to_numpy().copy())


def _num_codes(where: str, said: str) -> int:
    """K, of a file's metadata or an argument.

    Raises:
        ValueError: if it is no whole number that codes can have.
    """
    if not said.isdecimal() or not 1 <= int(said) <= MOST_CODES:
        raise ValueError(f"{where}: num_codes must be a whole number in [1, {MOST_CODES}], got {said}.")
    return int(said)


@dataclass(frozen=True)
class RandomCodes(CodeSource):
    """Codes that mean nothing, hashed from the id: the control, and a hashed table by another name.

    Args:
        num_levels: L.
        num_codes: K.
        seed: another one gives other codes.
    """

    num_levels: int = 4
    num_codes: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse no levels, and no codes."""
        check_fields(self)
        check_number("RandomCodes", "num_levels", self.num_levels, 1, MAX_LEVELS)
        check_number("RandomCodes", "num_codes", self.num_codes, 1, 1 << 31)

    def load(self, owner: str, num_embeddings: int) -> ItemCodes:
        """The same on every machine."""
        dtype = smallest_dtype(self.num_codes)
        codes = torch.empty(self.num_levels, num_embeddings, dtype=dtype)
        for level, column in enumerate(codes):
            seed = name_seed(f"random codes {self.seed}", level)
            for first in range(0, num_embeddings, _BLOCK_IDS):
                ids = torch.arange(first, min(first + _BLOCK_IDS, num_embeddings))
                column[first : first + _BLOCK_IDS] = bucket(ids, seed, self.num_codes).to(dtype)
        lengths = torch.full((num_embeddings,), self.num_levels, dtype=torch.uint8)
        return ItemCodes(codes, lengths, self.num_codes)


@dataclass(frozen=True)
class StoredCodes(CodeSource):
    """The codes of the checkpoint that is loaded, without the file that they once came from; until then, none.

    Args:
        num_levels: L.
        num_codes: K.
    """

    num_levels: int
    num_codes: int

    def __post_init__(self) -> None:
        """Refuse no levels, and no codes."""
        check_fields(self)
        check_number("StoredCodes", "num_levels", self.num_levels, 1, MAX_LEVELS)
        check_number("StoredCodes", "num_codes", self.num_codes, 1, MOST_CODES)

    def load(self, owner: str, num_embeddings: int) -> ItemCodes:
        """No codes yet."""
        codes = torch.zeros(self.num_levels, num_embeddings, dtype=smallest_dtype(self.num_codes))
        return ItemCodes(codes, torch.zeros(num_embeddings, dtype=torch.uint8), self.num_codes)


def packed(owner: str, codes: Tensor, lengths: Tensor | None, num_codes: int | None) -> ItemCodes:
    """Codes [L, V] as a table keeps them.

    Args:
        owner: for messages.
        codes: whole numbers; without `lengths`, from an id's first -1 on it has none.
        lengths: [V] how many codes of an id count.
        num_codes: K; None takes the largest code and one.

    Raises:
        ValueError: if they are no [L, V] of codes in range, or one follows a missing one.
    """
    if codes.dim() != 2 or not 1 <= len(codes) <= MAX_LEVELS or codes.dtype.is_floating_point:
        raise ValueError(f"{owner}: codes must be whole numbers [L, V] with L at most {MAX_LEVELS}, got {codes.shape}.")
    if lengths is None:
        if codes.numel() and int(codes.min()) < -1:
            raise ValueError(f"{owner}: codes must be at least 0, or -1 where one is missing, got {int(codes.min())}.")
        absent = codes < 0
        if bool((absent[:-1] & ~absent[1:]).any()):
            raise ValueError(f"{owner}: a code follows a missing one; an id's codes must come first.")
        lengths = (~absent).sum(0)
        codes = codes.clamp(min=0)
    largest = int(codes.max()) if codes.numel() else 0
    num_codes = largest + 1 if num_codes is None else num_codes
    if not 0 <= largest < num_codes:
        raise ValueError(f"{owner}: codes must be in [0, num_codes={num_codes}), got {largest}.")
    if int(lengths.max()) > len(codes):
        raise ValueError(f"{owner}: lengths must be at most the number of levels {len(codes)}, got {lengths.max()}.")
    return ItemCodes(codes.to(smallest_dtype(num_codes)), lengths.to(torch.uint8), num_codes)


def trained_lengths(codes: Tensor, lengths: Tensor, trained: Tensor) -> Tensor:
    """How many codes of every id some id that is trained has, too.

    Shape:
        codes [L, V], lengths [V], trained bool [V] -> [V], at most lengths
    """
    shared, prefixes = torch.zeros_like(lengths), torch.zeros(codes.shape[1], dtype=torch.int64)
    for level, own in enumerate(codes):
        has = (lengths > level) & (shared == level)
        # Numbered anew at each level: no prefix is too long for its number.
        _, prefixes = torch.stack([prefixes, own.long()]).unique(dim=1, return_inverse=True)
        shared += has & torch.isin(prefixes, prefixes[has & trained])
    return shared


def smallest_dtype(num_codes: int) -> torch.dtype:
    """The smallest integers that hold codes below num_codes."""
    return torch.uint8 if num_codes <= 1 << 8 else torch.int16 if num_codes <= 1 << 15 else torch.int32

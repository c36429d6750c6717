"""Read a raw text file, plain or gzip, as blocks of whole lines with their line numbers and a checksum."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

BLOCK_BYTES = 16 << 20
MAX_LINE_BYTES = 16 << 20
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class RawBlock:
    """Whole lines of one file.

    Attributes:
        file: Name of the file, for messages.
        first_line: Number of the first line, counted from 1.
        data: The lines, each ended by one newline byte.
        num_lines: How many; a damaged place counts as one.
        damage: Why reading stopped at line ``first_line`` (a truncated gzip); ``data`` is then empty.
    """

    file: str
    first_line: int
    data: bytes
    num_lines: int
    damage: str | None = None


class _HashingReader(io.RawIOBase):
    """Passes bytes through from ``stream`` and keeps their number and SHA-256."""

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self.stream = stream
        self.on_bytes = on_bytes
        self.digest = hashlib.sha256()
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self.stream.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(buffer[:count])
        self.num_bytes += count
        self.on_bytes(count)
        return int(count)


class RawFile:
    """A raw file on disk; gzip is recognised by its first two bytes, not by its name."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> None:
        """Remember ``path``; ``on_bytes`` hears how many bytes of the file were read, for a progress bar."""
        if not path.is_file():
            raise ValueError(f"raw file '{path}' does not exist; give the publisher's file.")
        self.path = path
        self.on_bytes = on_bytes
        self.num_bytes = 0
        self.sha256 = ""

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[RawBlock]:
        """Yield the whole file in order; ``num_bytes`` and ``sha256`` are known when it has ended.

        Raises:
            ValueError: The file is empty, or a line is longer than 16 MiB (not a text file).
        """
        with self.path.open("rb", buffering=0) as stream:
            hashing = _HashingReader(stream, self.on_bytes)
            plain: BinaryIO = io.BufferedReader(hashing, block_bytes)
            if plain.peek(2)[:2] == GZIP_MAGIC:  # type: ignore[attr-defined]
                plain = gzip.GzipFile(fileobj=plain)  # type: ignore[assignment]
            yield from self._lines(plain, block_bytes)
            while hashing.read(block_bytes):
                pass  # bytes behind a damaged place belong to the checksum
            self.num_bytes, self.sha256 = hashing.num_bytes, hashing.digest.hexdigest()

    def _lines(self, stream: BinaryIO, block_bytes: int) -> Iterator[RawBlock]:
        line, rest, damage = 1, b"", None
        while damage is None:
            chunk, damage = _read(stream, block_bytes)
            if not chunk:
                break
            data = rest + chunk
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                data = _unix_newlines(data[:end])
                num_lines = count_byte(data, b"\n")
                yield RawBlock(self.path.name, line, data, num_lines)
                line += num_lines
            if len(rest) > MAX_LINE_BYTES:
                raise ValueError(f"{self.path.name}, line {line}: over {MAX_LINE_BYTES} bytes without a newline.")
        if damage is not None:
            yield RawBlock(self.path.name, line, b"", 1, damage)
        elif rest:
            yield RawBlock(self.path.name, line, _unix_newlines(rest + b"\n"), 1)
        elif line == 1:
            raise ValueError(f"{self.path.name}, line 1: the file is empty.")


def count_byte(data: bytes, byte: bytes) -> int:
    """Return how often ``byte`` is in ``data`` (``bytes.count`` is slower where there are many)."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == byte[0]))


def _read(stream: BinaryIO, num_bytes: int) -> tuple[bytes, str | None]:
    """Return up to ``num_bytes``, fewer only at the end, and what ended the stream early if it is damaged."""
    parts, damage = [], None
    try:
        # read1 hands over what came before a damaged place; read would lose it
        while num_bytes > 0 and (part := stream.read1(num_bytes)):  # type: ignore[attr-defined]
            parts.append(part)
            num_bytes -= len(part)
    except EOFError:
        damage = "the gzip stream ends early (truncated file); download it again"
    except (zlib.error, gzip.BadGzipFile) as error:
        damage = f"the gzip stream is damaged ({error}); download the file again"
    return b"".join(parts), damage


def _unix_newlines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data

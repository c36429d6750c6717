"""Read a raw text file, plain or packed, as blocks of whole lines with their line numbers and a checksum."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

BLOCK_BYTES = 16 << 20
MAX_LINE_BYTES = 16 << 20
MAX_RECORD_LINES = 100
"""Lines that one quoted value may span; a quote still open after these is one that was never closed."""
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class RawBlock:
    """Whole lines of one file.

    Attributes:
        file: Name of the file, for messages.
        first_line: Number of the first line, counted from 1.
        data: The lines, each ended by one newline byte.
        num_lines: How many.
    """

    file: str
    first_line: int
    data: bytes
    num_lines: int


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
    """A raw file on disk; gzip and zstd are recognised by their first bytes, not by a name.

    Attributes:
        name: What messages and schema.json call it; several files of one name have some of their folders in it.
        num_bytes: Of the file as it is on the disk, known when it has been read.
        sha256: Likewise.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Remember ``path``.

        Raises:
            ValueError: It is no file.
        """
        if path.is_dir():
            raise ValueError(f"raw file '{path}' is a folder; name the file in it.")
        if not path.exists():
            raise ValueError(f"raw file '{path}' does not exist; give the publisher's file.")
        self.path = path
        self.name = name or path.name
        self.on_bytes: Callable[[int], None] = lambda count: None
        self.num_bytes = 0
        self.sha256 = ""

    def blocks(self, block_bytes: int = BLOCK_BYTES, quoted: bool = False) -> Iterator[RawBlock]:
        """Yield the whole file in order, without a mark of UTF-8 at its beginning.

        Args:
            block_bytes: About as many bytes as a block has.
            quoted: A newline between two double quotes ends no block.

        Raises:
            ValueError: The file is empty, damaged or UTF-16, or a line is longer than 16 MiB (not a text file).
        """
        with self.path.open("rb", buffering=0) as stream:
            hashing = _HashingReader(stream, self.on_bytes)
            buffered = io.BufferedReader(hashing, block_bytes)
            yield from self._lines(_unpacked(buffered), block_bytes, quoted)
            while hashing.read(block_bytes):
                pass  # Bytes behind the end of a packed stream belong to the checksum.
            self.num_bytes, self.sha256 = hashing.num_bytes, hashing.digest.hexdigest()

    def first_line(self) -> bytes:
        """Return the first line, without its newline.

        Raises:
            ValueError: As ``blocks`` does.
        """
        return next(iter(self.blocks(1 << 20))).data.split(b"\n", 1)[0]

    def _lines(self, stream: BinaryIO, block_bytes: int, quoted: bool) -> Iterator[RawBlock]:
        line, rest, is_first = 1, b"", True
        while chunk := self._read(stream, block_bytes, line):
            if is_first:
                chunk, is_first = self._checked_start(chunk), False
            data = rest + chunk
            end = _end_of_lines(data, quoted)
            rest = data[end:]
            if end:
                data = _unix_newlines(data[:end])
                num_lines = count_byte(data, b"\n")
                yield RawBlock(self.name, line, data, num_lines)
                line += num_lines
            if len(rest) > MAX_LINE_BYTES:
                raise ValueError(f"{self.name}, line {line}: over {MAX_LINE_BYTES} bytes without a newline.")
        if rest:
            rest = _unix_newlines(rest if rest.endswith(b"\n") else rest + b"\n")
            yield RawBlock(self.name, line, rest, count_byte(rest, b"\n"))
        elif line == 1:
            raise ValueError(f"{self.name}, line 1: the file is empty.")

    def _read(self, stream: BinaryIO, num_bytes: int, line: int) -> bytes:
        """Return up to ``num_bytes``, fewer only at the end.

        Raises:
            ValueError: The stream is damaged, whatever may be skipped: nobody knows how many lines are lost.
        """
        parts = []
        try:
            while num_bytes > 0 and (part := stream.read1(num_bytes)):  # type: ignore[attr-defined]
                parts.append(part)
                num_bytes -= len(part)
        except EOFError as error:
            raise self._damaged(line, "the gzip stream ends early (truncated file)") from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(line, f"the gzip stream is damaged ({error})") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._damaged(line, f"the zstd stream is damaged ({error})") from error
        return b"".join(parts)

    def _damaged(self, line: int, problem: str) -> ValueError:
        return ValueError(f"{self.name}, line {line} or later: {problem}; download the file again.")

    def _checked_start(self, data: bytes) -> bytes:
        if data[:2] in UTF16_MARKS or (len(data) > 1 and b"\0" in data[:2]):
            raise ValueError(
                f"{self.name} is UTF-16, not UTF-8, or no text; convert it with: "
                f"iconv -f UTF-16 -t UTF-8 '{self.path}' > new.csv."
            )
        return data.removeprefix(UTF8_MARK)


def count_byte(data: bytes, byte: bytes) -> int:
    """Return how often ``byte`` is in ``data`` (``bytes.count`` is slower where there are many)."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == byte[0]))


def _unpacked(stream: Any) -> BinaryIO:
    start = stream.peek(4)[:4]
    if start[:2] == GZIP_MAGIC:
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if start == ZSTD_MAGIC:
        return pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return stream


def _end_of_lines(data: bytes, quoted: bool) -> int:
    """Return where the last whole line ends, or the last whole record if newlines may be quoted."""
    if not quoted or b'"' not in data:
        return data.rfind(b"\n") + 1
    characters = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(characters == ord("\n"))
    num_quotes = np.searchsorted(np.flatnonzero(characters == ord('"')), newlines)
    outside = np.flatnonzero(num_quotes % 2 == 0)
    if not len(newlines):
        return 0
    if not len(outside) or len(newlines) - outside[-1] > MAX_RECORD_LINES:
        return int(newlines[-1]) + 1
    return int(newlines[outside[-1]]) + 1


def _unix_newlines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data

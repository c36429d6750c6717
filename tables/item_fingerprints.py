"""The fingerprint that a file of codes carries: which item has which codes, whatever their order."""

from __future__ import annotations

import hashlib
import re
from typing import Any

FINGERPRINT = b"fingerprint"
_QUOTED = re.compile(r'[",\r\n]')


def check_fingerprint(where: str, table: Any, names: list[str]) -> None:
    """Refuse codes that are not those, or not of those items, that the file's fingerprint was made of.

    A file without one, as others publish them, is taken as it is.

    Args:
        where: for messages, the file.
        table: of pyarrow, with the column item.
        names: of the columns of codes, level by level.

    Raises:
        ValueError: naming both fingerprints.
    """
    import pyarrow as pa

    metadata = table.schema.metadata or {}
    kind = table["item"].type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_comparable = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if FINGERPRINT not in metadata or not is_comparable:
        return
    said = metadata[FINGERPRINT].decode(errors="replace")
    found = codes_fingerprint(table, names, metadata.get(b"num_codes", b"").decode(errors="replace"))
    if found != said:
        raise ValueError(
            f"{where} carries the fingerprint {said}, and its items and codes have {found}: they are other items or "
            "codes than those it was made of; make it again."
        )


def codes_fingerprint(table: Any, names: list[str], num_codes: str) -> str:
    """The beginning of a SHA-256 of lines `item,code0,code1,...` by rising item, and of the number of codes."""
    items = [_field(item) for item in table["item"].to_pylist()]
    columns = [["" if code is None else str(code) for code in table[name].to_pylist()] for name in names]
    rows = sorted(zip(table["item"].to_pylist(), items, *columns, strict=True), key=lambda row: str(row[0]))
    text = "".join(",".join(row[1:]) + "\n" for row in rows) + num_codes
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _field(item: object) -> str:
    """As a CSV has it: in quotes where it could be taken for something else."""
    text = str(item)
    return '"' + text.replace('"', '""') + '"' if not text or _QUOTED.search(text) else text

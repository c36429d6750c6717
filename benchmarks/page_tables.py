"""Tables of benchmarks in pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path


def put(page: Path, mark: str, table: str) -> None:
    """Replace what stands between the page's lines `<!-- MARK -->` and `<!-- end -->`."""
    line = f"<!-- {mark} -->\n"
    text = page.read_text()
    assert line in text, f"{page} has no line '{line.strip()}'."
    pattern = rf"({re.escape(line)}).*?(<!-- end -->)"
    page.write_text(re.sub(pattern, lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text, count=1, flags=re.DOTALL))

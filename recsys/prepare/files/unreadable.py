"""What Arrow raises of a file that is damaged or of another kind."""

from __future__ import annotations

import pyarrow as pa

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""The last of names of columns that are no UTF-8; missing columns are a KeyError."""

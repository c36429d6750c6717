"""What a worker measures of itself."""

import subprocess
import sys

import numpy as np

from recsys.comparison.worker import peak_memory_bytes

SMALL = """
import re
from pathlib import Path
source = Path({path!r}).read_text()
start = source.index("def peak_memory_bytes")
exec(source[start : source.index("class _MetricCheck")])
print(peak_memory_bytes())
"""


def test_peak_memory_is_that_of_the_program_and_not_of_what_started_it():
    large = np.ones(1 << 27, dtype=np.uint8)  # 128 MiB, resident here
    path = sys.modules[peak_memory_bytes.__module__].__file__
    found = subprocess.run([sys.executable, "-c", SMALL.format(path=path)], capture_output=True, text=True, check=True)
    assert peak_memory_bytes() > large.nbytes
    assert 1 << 20 < int(found.stdout) < large.nbytes

"""Large pages are a wish: values, views and neighbours of a tensor stay what they were."""

from pathlib import Path

import pytest
import torch

from recsys.tables.lookups.pages import in_large_pages


@pytest.mark.parametrize("num_values", [0, 1, (1 << 19) - 1, 1 << 19, (1 << 19) + 1, 3 << 20])
def test_values_stay(num_values):
    values = torch.arange(num_values, dtype=torch.float32)
    asked = in_large_pages(values)
    assert asked is values
    torch.testing.assert_close(asked, torch.arange(num_values, dtype=torch.float32), rtol=0, atol=0)


def test_other_devices_are_left_alone():
    values = torch.empty(1 << 20, device="meta")
    assert in_large_pages(values) is values


def test_the_system_knows_of_the_wish():
    choices = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not choices.exists() or "[never]" in choices.read_text():
        pytest.skip("this system has no large pages to ask for")
    values = in_large_pages(torch.empty(16 << 20))
    begin, flags = None, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, last = (int(each, 16) for each in head.split("-"))
            begin = first if first <= values.data_ptr() + (1 << 20) < last else None
        elif begin is not None and head == "VmFlags:":
            flags = line
    assert " hg" in flags

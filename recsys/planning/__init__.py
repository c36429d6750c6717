"""What a budget buys, before anything is trained: frequent ids exact, the long tails of all features shared."""

from recsys.prepare.clicks.allocation import Allocation, Column, allocate

__all__ = ["Allocation", "Column", "allocate"]

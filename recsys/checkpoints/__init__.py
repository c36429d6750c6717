"""Checkpoints: files and folders, what they say of their tables, and reading them without running anything."""

from recsys.checkpoints.consolidated import consolidate, load

__all__ = ["consolidate", "load"]

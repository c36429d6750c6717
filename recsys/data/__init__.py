"""Prepared data folders as a stream of batches."""

from recsys.data.ctr import CTRDataModule
from recsys.data.loader import BatchLoader
from recsys.data.schema import Column, Schema, SplitInfo

__all__ = ["BatchLoader", "CTRDataModule", "Column", "Schema", "SplitInfo"]

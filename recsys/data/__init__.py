"""Prepared data folders as a stream of batches."""

from recsys.data.ctr import CTRDataModule
from recsys.data.loader import BatchLoader
from recsys.data.schema import Column, Schema, SplitInfo
from recsys.data.session_batch import SessionBatch

__all__ = ["BatchLoader", "CTRDataModule", "Column", "Schema", "SessionBatch", "SplitInfo"]

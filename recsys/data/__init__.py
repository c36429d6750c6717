"""Prepared data folders as a stream of batches."""

from recsys.data.ctr import CTRDataModule
from recsys.data.loader import BatchLoader
from recsys.data.schema import Column, Schema, SplitInfo
from recsys.data.session import SessionDataModule
from recsys.data.session_batch import SessionBatch
from recsys.data.session_loader import SessionLoader
from recsys.data.session_schema import SessionSchema, SessionSplitInfo

__all__ = [
    "BatchLoader",
    "CTRDataModule",
    "Column",
    "Schema",
    "SessionBatch",
    "SessionDataModule",
    "SessionLoader",
    "SessionSchema",
    "SessionSplitInfo",
    "SplitInfo",
]

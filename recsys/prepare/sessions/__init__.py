"""Event logs as sequences of items."""

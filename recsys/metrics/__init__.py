"""Metrics of whole splits: of clicks, of next items, and of ranked lists."""

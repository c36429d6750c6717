"""Rows of clicks."""

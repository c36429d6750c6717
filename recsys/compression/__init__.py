"""Trained tables made to fit a budget of bytes: one file a method, one interface, without training."""

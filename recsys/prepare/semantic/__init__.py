"""Semantic ids: items' content as a few codes each, from coarse to fine. No torch."""

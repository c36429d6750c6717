"""From ids to row numbers, in integers."""

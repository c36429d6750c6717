"""Comparisons: contenders x seeds, each run a process of its own, kept in a folder, reported as tables and pictures."""

from recsys.comparison.pareto import pareto_front
from recsys.comparison.reading import read_comparison
from recsys.comparison.results import Summary, summarize
from recsys.comparison.spec import Comparison, Contender, Run
from recsys.comparison.store import RunStore

__all__ = ["Comparison", "Contender", "Run", "RunStore", "Summary", "pareto_front", "read_comparison", "summarize"]

"""Lightning modules: the only code that joins tables, a model, a loss and metrics."""

from recsys.tasks.ctr import CTRTask
from recsys.tasks.tables import TableOptions

__all__ = ["CTRTask", "TableOptions"]

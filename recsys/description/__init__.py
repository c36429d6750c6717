"""What a trained collection of tables holds: bytes, collisions, norms, unused and dead rows, effective rank."""

from recsys.description.portrait import TablePortrait, effective_rank, portray

__all__ = ["TablePortrait", "effective_rank", "portray"]

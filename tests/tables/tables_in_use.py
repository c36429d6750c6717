"""Collections of a few tables, and a task that a table can learn."""

import torch

from recsys.tables import Feature, TableCollection


def collection_of(*tables, **arguments):
    named = {table.name: table for table in tables}
    return TableCollection([Feature(name, name) for name in named], named, **arguments)


def loss_of_all_ids(collection, wanted):
    ids = torch.arange(wanted.shape[0]).expand(wanted.shape[1], -1)
    loss = (collection(ids) - wanted).square().sum(-1).mean()
    penalty = collection.regularizer(wanted.shape[0])
    return loss if penalty is None else loss + penalty


def fit(table, steps=150, seed=0):
    """How far the vectors of a table are from some that can be learnt, before and after training."""
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randn(table.num_embeddings, 1, table.embedding_dim, generator=generator) * 0.3
    collection = collection_of(table)
    dense = torch.optim.Adam(collection.param_groups(), lr=0.01)
    first = loss_of_all_ids(collection.eval(), wanted).item()
    collection.train()
    for _ in range(steps):
        dense.zero_grad()
        loss_of_all_ids(collection, wanted).backward()
        dense.step()
    return collection.eval(), first, loss_of_all_ids(collection, wanted).item()

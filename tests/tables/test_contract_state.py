"""What every table must pass: what is saved and loaded, and what a configuration says, gives the same table."""

import copy
from dataclasses import is_dataclass
from functools import partial

import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, collect, make, spread
from jsonargparse import ArgumentParser
from torch.testing import assert_close

from recsys.tables import Adagrad, Adam, Feature, RowWiseAdagrad, Table, TableCollection
from tests.tables.test_contract import LOOKUPS, batch, collect_all_shapes, every_example, train


@pytest.mark.parametrize(
    ("example", "lookup", "target", "optimizer"),
    spread(LOOKUPS, LOOKUPS, [RowWiseAdagrad(0.1), Adagrad(0.1), Adam(0.1)]),
    ids=str,
)
def test_saved_and_loaded_it_continues_alike(example, lookup, target, optimizer):
    ids, bags = batch()
    trained = collect_all_shapes(example, lookup=lookup, optimizer=optimizer)
    train(trained, trained(ids, bags).sum())
    torch.manual_seed(99)
    loaded = collect_all_shapes(example, lookup=target, optimizer=optimizer)
    loaded.load_state_dict(copy.deepcopy(trained.state_dict()))
    assert_close(loaded(ids, bags), trained(ids, bags), rtol=1e-6, atol=1e-8)
    for collection in (trained, loaded):
        train(collection, collection(ids, bags).square().sum())
    assert_close(loaded(ids, bags), trained(ids, bags), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("example", ["hash", "unified", "qr"])
def test_loading_refuses_other_routing(example):
    saved = collect(example, ["f"]).state_dict()
    renamed = {key.replace(".f.", ".g.").replace("lookup.f", "lookup.g"): value for key, value in saved.items()}
    if example == "qr":
        other = TableCollection(
            [Feature("g", "g")], {"g": EXAMPLES["qr"][0]("g", 3_000, EMBEDDING_DIM, num_remainders=61)}
        )
        with pytest.raises(RuntimeError, match=r"modulus is .* in the checkpoint"):
            other.load_state_dict(renamed)
    else:
        with pytest.raises(RuntimeError, match=r"seed is .* in the checkpoint"):
            collect(example, ["g"]).load_state_dict(renamed)


def written(value):
    """An argument as YAML has it."""
    if isinstance(value, list):
        return [written(each) for each in value]
    if isinstance(value, partial):
        keywords = {name: written(each) for name, each in value.keywords.items()}
        return {"class_path": f"recsys.tables.{value.func.__name__}", "init_args": keywords}
    if isinstance(value, type):
        return {"class_path": f"recsys.tables.{value.__name__}"}
    if is_dataclass(value):
        return {"class_path": f"recsys.tables.{type(value).__name__}", "init_args": vars(value)}
    return value


@every_example
def test_configuration_round_trip(example):
    table_type, _ = EXAMPLES[example]
    arguments = {name: written(value) for name, value in EXAMPLES[example][1].items()}
    parser = ArgumentParser()
    parser.add_argument("--table", type=Table)
    init_args = {"name": "f", "num_embeddings": 3_000, "embedding_dim": EMBEDDING_DIM, **arguments}
    config = parser.parse_object(
        {"table": {"class_path": f"recsys.tables.{table_type.__name__}", "init_args": init_args}}
    )
    again = parser.parse_string(parser.dump(config))
    assert again == config
    table = parser.instantiate_classes(again).table
    assert table.physical_tables() == make(example).physical_tables()

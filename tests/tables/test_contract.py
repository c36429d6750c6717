"""The contract, once for all tables and both lookups."""

import copy

import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, Oracle, all_subclasses, collect, make, settle, spread
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Adagrad,
    Adam,
    Bag,
    DenseGradient,
    Embedding,
    FbgemmLookup,
    Frozen,
    NumbaLookup,
    RowWiseAdagrad,
    Table,
    TorchLookup,
)

LOOKUPS = [TorchLookup, NumbaLookup, FbgemmLookup]
OPTIMIZERS = [
    SGD(0.1),
    Adagrad(0.1),
    RowWiseAdagrad(0.1),
    RowWiseAdagrad(0.1, weight_decay=0.2),
    Adagrad(0.1, 0.2),
    Adam(0.1),
]

FEW_ROWS = ("qr-3", "qr-concat-11", "qr-sum", "path-qr", "tensor-train", "semantic-prefix-2")
WIDE = {"num_rows": 30_000, "num_values": 30_000 * EMBEDDING_DIM}

every_example = pytest.mark.parametrize("example", EXAMPLES)
every_lookup = pytest.mark.parametrize("lookup", LOOKUPS)


def batch(num_samples=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 2_500, (2, num_samples), generator=generator)
    lengths = torch.tensor(([2, 0, 3, 1, 1, 0, 4] * num_samples)[:num_samples], dtype=torch.long)
    values = torch.randint(0, 2_500, (int(lengths.sum()),), generator=generator)
    other = torch.randint(0, 2_500, (num_samples,), generator=generator)
    bags = {"bag": Bag(values, lengths), "ones": Bag(other, torch.ones(num_samples, dtype=torch.long))}
    return ids, bags


def collect_all_shapes(example, **arguments):
    return collect(example, ["one", "bag", "two", "ones"], {"bag": "sum", "ones": "mean"}, **arguments)


def test_every_table_has_an_example():
    assert {table_type for table_type, _ in EXAMPLES.values()} == {
        kind for kind in all_subclasses(Table) if kind.__module__.startswith("recsys.")
    }


@pytest.mark.parametrize(("example", "num_samples", "lookup"), spread([7, 1, 0], LOOKUPS))
def test_forward_equals_the_oracle(example, lookup, num_samples):
    collection = collect_all_shapes(example, lookup=lookup)
    ids, bags = batch(num_samples)
    assert_close(collection(ids, bags), Oracle(collection)(ids, bags).float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("example", "optimizer", "lookup"), spread(OPTIMIZERS, LOOKUPS), ids=str)
def test_two_optimizer_steps_equal_the_oracle(example, lookup, optimizer):
    collection = collect_all_shapes(example, lookup=lookup, optimizer=optimizer)
    state = {}
    for step in (1, 2):
        ids, bags = batch(seed=step)
        oracle = Oracle(collection)
        weights = torch.randn(7, 4, EMBEDDING_DIM, generator=torch.Generator().manual_seed(step))
        (oracle(ids, bags) * weights).sum().backward()
        collection.zero_grad()
        train(collection, (collection(ids, bags) * weights).sum())
        for name, before in oracle.matrices.items():
            grad = torch.zeros_like(before) if before.grad is None else before.grad
            if isinstance(collection.lookup.optimizer_of(name), Frozen):
                assert torch.equal(collection.lookup.weight(name), before.to(collection.lookup.dtype_of(name)))
                continue
            touched = torch.zeros(len(before), 1).index_fill_(0, torch.tensor(sorted(oracle.read[name])).long(), 1)
            grad = grad + optimizer.weight_decay * before.detach() * touched
            expected = dense_step(optimizer, before.detach(), grad, touched, state.setdefault(name, {}), step)
            # What is left of terms that cancel has no certain sign in float32, and some optimizers keep but the sign.
            certain = (grad.abs() > 1e-4) | (grad == 0)
            assert certain.float().mean() > 0.8
            # What rounds a row off, summed over it, is a small difference of large numbers in float32.
            looser = 20 if name.endswith("log_scale") else 1
            weight = collection.lookup.weight(name)
            assert_close(weight[certain], expected.float()[certain], rtol=2e-4, atol=looser * 2e-6)
        for table, parameters in oracle.parameters.items():
            for name, value in parameters.items():
                assert_close(collection.table(table).get_parameter(name).grad, value.grad.float(), rtol=1e-4, atol=1e-6)


def train(collection, loss):
    """A step; a table that is made to be served has nothing to train."""
    if loss.requires_grad:
        loss.backward()
    collection.step()


def dense_step(optimizer, weight, grad, touched, state, step):
    """The optimiser's textbook formula on the rows that were touched, in float64."""
    squares = grad.square()
    if isinstance(optimizer, Adam):
        state["m"] = state.get("m", 0 * grad) * (1 - touched * 0.1) + 0.1 * grad
        state["v"] = state.get("v", 0 * grad) * (1 - touched * 0.001) + 0.001 * squares
        mean, variance = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
        # eps sits beside the uncorrected root, as in torch's SparseAdam.
        eps = optimizer.eps / (1 - 0.999**step) ** 0.5
        return weight - optimizer.learning_rate * touched * mean / (variance.sqrt() + eps)
    if isinstance(optimizer, SGD):
        return weight - optimizer.learning_rate * grad
    if isinstance(optimizer, RowWiseAdagrad):
        squares = squares.mean(1, keepdim=True)
    state["sum"] = state.get("sum", 0 * squares) + squares
    return weight - optimizer.learning_rate * grad / (state["sum"].sqrt() + optimizer.eps)


@every_example
def test_embedding_equals_the_collection(example):
    collection = collect(example, ["f"])
    embedding = Embedding(make(example))
    for weight, name in zip(embedding.weights, collection.lookup.tables, strict=True):
        assert_close(weight.detach(), collection.lookup.weight(name))
    ids = torch.randint(0, 3_000, (5, 4))
    assert_close(embedding(ids), collection(ids.view(1, -1)).view(5, 4, EMBEDDING_DIM))


@every_example
def test_the_initial_vector_has_the_documented_deviation(example):
    sizes = {"num_remainders": 400} if example == "qr" else {}
    table_type, arguments = EXAMPLES[example]
    wide = {size: value for size, value in WIDE.items() if size in arguments}
    table = table_type("f", 100_000, EMBEDDING_DIM, **{**arguments, **wide, **sizes}, init_std=0.02)
    if example in FEW_ROWS:
        pytest.skip("few distinct rows by design: the deviation is checked over many seeds below")
    ids = torch.arange(10_000) * 9
    settle(table, ids)
    with torch.no_grad():
        vectors = Embedding(table)(ids)
    vectors = vectors[(vectors != 0).any(1)] if table.leaves_out else vectors
    assert vectors.std().item() == pytest.approx(0.02, rel=0.03)
    assert abs(vectors.mean().item()) < 0.001


@pytest.mark.parametrize("example", FEW_ROWS)
def test_the_initial_deviation_over_many_names(example):
    table_type, arguments = EXAMPLES[example]
    ids = torch.randint(0, 3_000, (500,))
    with torch.no_grad():
        vectors = [
            Embedding(table_type(f"f{name}", 3_000, EMBEDDING_DIM, **arguments, init_std=0.02))(ids)
            for name in range(60)
        ]
    assert torch.stack(vectors).std().item() == pytest.approx(0.02, rel=0.03)


@every_example
def test_rows_are_in_range_for_ids_above_2_to_the_24(example):
    big = 40_000_000
    table_type, arguments = EXAMPLES[example]
    table = table_type("f", big, EMBEDDING_DIM, **arguments)
    ids = torch.tensor([0, 1, 2**24, 2**24 + 1, 2**24 + 3, big - 2, big - 1])
    settle(table, ids)
    if not table.physical_tables():
        vectors = Embedding(table)(ids)
        assert len(vectors.unique(dim=0)) == len(ids)
        return
    rows = table.rows_of(ids)
    for physical, codes in zip(table.physical_tables(), rows, strict=True):
        assert int(codes.min()) >= (-1 if table.leaves_out else 0)
        assert int(codes.max()) < physical.num_rows
    if not table.leaves_out:
        assert rows.t().unique(dim=0).shape[0] == len(ids), "seven ids, seven combinations of rows"


@every_example
def test_id_0_is_nothing_special(example):
    vectors = Embedding(make(example))(torch.arange(50))
    assert vectors[0].abs().sum() > 0
    if not make(example).physical_tables():
        return
    rows = make(example).rows_of(torch.zeros(1, dtype=torch.long))
    if make(example).constants().keys() == {"seed", "num_buckets"} and rows.numel() > 1:
        assert len(rows.unique()) > 1, "all probes of id 0 meet in one row"


@every_example
@every_lookup
def test_feature_order_does_not_matter(example, lookup):
    forward = collect(example, ["a", "b", "c"], sizes=[500, 600, 700], lookup=lookup)
    backward = collect(example, ["c", "b", "a"], sizes=[700, 600, 500], lookup=lookup)
    ids = torch.randint(0, 500, (3, 6))
    assert_close(forward(ids), backward(ids.flip(0)).flip(1))
    backward.load_state_dict(forward.state_dict())


@every_example
def test_float64_asked_float64_got(example):
    collection = collect_all_shapes(example, dtype=torch.float64)
    ids, bags = batch()
    embedded = collection(ids, bags)
    assert embedded.dtype == torch.float64
    assert_close(embedded, Oracle(collection)(ids, bags))


@every_example
@every_lookup
def test_inputs_are_not_changed(example, lookup):
    ids, bags = batch()
    before = ids.clone(), copy.deepcopy(bags)
    collection = collect_all_shapes(example, lookup=lookup)
    train(collection, collection(ids, bags).sum())
    assert torch.equal(ids, before[0])
    assert all(torch.equal(bags[name].values, before[1][name].values) for name in bags)


@every_example
@every_lookup
def test_int32_ids_equal_int64_ids(example, lookup):
    collection = collect_all_shapes(example, lookup=lookup)
    ids, bags = batch()
    narrow = {name: Bag(bag.values.int(), bag.lengths.int()) for name, bag in bags.items()}
    assert torch.equal(collection(ids.int(), narrow), collection(ids, bags))


@every_example
def test_counted_bytes_are_the_bytes_of_the_tensors(example):
    table = make(example)
    embedding = Embedding(table)
    constants = sum(c.numel() * c.element_size() for c in table.constants().values())
    # Where the columns of what is kept of every id begin follows from their sizes; a number tells averages.
    derived = ("_first_", "_unaveraged")
    buffers = [value for name, value in embedding.named_buffers() if not any(word in name for word in derived)]
    tensors = [*embedding.parameters(), *buffers]
    unique = {physical.name: physical for physical in table.physical_tables()}
    counted = sum(physical.num_bytes() for physical in unique.values()) + table.own_bytes()
    assert counted == sum(t.numel() * t.element_size() for t in tensors) - constants


@every_example
def test_gradients_reach_every_parameter(example):
    if EXAMPLES[example][0].moves_rows:
        pytest.skip("rows with dense gradients are refused, and it has no other parameters")
    tables = make(example).physical_tables()
    if tables and all(isinstance(physical.optimizer, Frozen) for physical in tables):
        pytest.skip("nothing of it is trained")
    collection = collect_all_shapes(example, optimizer=DenseGradient())
    ids, bags = batch()
    collection(ids, bags).square().sum().backward()
    assert list(collection.parameters())
    for name, parameter in collection.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every_example
def test_routing_takes_as_many_operations_for_40_features_as_for_2(example):
    if make(example).observes:
        pytest.skip("a table that takes note of ids does so for itself")
    few, many = count_operations(example, 2), count_operations(example, 40)
    # Distinct values are found in a table of all that there might be, or by sorting, which is an operation more.
    assert all(abs(of_many - of_few) <= 2 for of_many, of_few in zip(many, few, strict=True))


def count_operations(example, num_features):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    names = [f"f{i}" for i in range(num_features)]
    single = collect(example, names, sizes=[2_000] * num_features)
    multi = collect(example, names, dict.fromkeys(names, "mean"), sizes=[2_000] * num_features)
    ids = torch.ones(num_features, 8, dtype=torch.long)
    bags = dict.fromkeys(names, Bag(torch.arange(5), torch.tensor([5])))
    single(ids)  # what tables keep of every id is put together once
    multi(torch.zeros(0, 1, dtype=torch.long), bags)
    with Counter() as counter:
        single(ids)
        before_bags = counter.calls
        multi(torch.zeros(0, 1, dtype=torch.long), bags)
    return before_bags, counter.calls

"""Tables in place of other models' embeddings."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from recsys.tables import (
    Embedding,
    EmbeddingBag,
    FullTable,
    HashTable,
    MixedDimTable,
    QRTable,
    SwapRule,
    TiedHead,
    UnifiedTable,
    swap_,
)

V, D = 200, 8


class Model(nn.Module):
    """What other people's models are like: a tied head, a regulariser's list, an embedding in two places, bags."""

    def __init__(self):
        super().__init__()
        self.item = nn.Embedding(V, D, padding_idx=0)
        self.user = nn.ModuleDict({"id": nn.Embedding(150, D), "city": nn.Embedding(5, D)})
        self.again = self.item
        self.tags = nn.EmbeddingBag(90, D, mode="sum")
        self.head = nn.Linear(D, V)
        self.head.weight = self.item.weight
        self.penalised = [([("item", self.item.weight)], 0.1), [self.user["id"].weight, self.head.bias]]

    def forward(self, items, users, tags):
        hidden = self.item(items).mean(1) + self.again(items[:, 0]) + self.user["id"](users) + self.tags(tags)
        return self.head(hidden + self.user["city"](users % 5))


def test_a_report_says_whose_rows_a_table_shares():
    report = swap_(Model(), [SwapRule(partial(UnifiedTable, num_rows=20), pattern="user.*", fit=False)])
    assert [each.shares for each in report.swapped] == ["", "user.id"]
    assert "user.city: UnifiedTable 5x8, 160 -> 0 bytes, rows shared with user.id\n" in str(report)


def batch():
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, size, shape, generator=generator) for size, shape in ((V, (9, 4)), (150, (9,)), (90, (9, 3)))
    ]


def losses(model, optimizer, steps=20):
    found = []
    for _ in range(steps):
        loss = F.cross_entropy(model(*batch()), batch()[0][:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


QUARTER = partial(QRTable, num_remainders=15)


def test_full_tables_change_nothing():
    model = Model()
    before = model(*batch())
    report = swap_(model, [SwapRule(FullTable)])
    assert torch.equal(model(*batch()), before)
    assert [each.fit_error for each in report.swapped] == [0.0] * 4
    assert report.bytes_before == report.bytes_after


def test_a_whole_model_is_compressed_and_trains():
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses(model, optimizer)
    report = swap_(model, [SwapRule(QUARTER, min_embeddings=100)], optimizers=[optimizer])
    assert [each.paths for each in report.swapped] == [("item", "again"), ("user.id",)]
    assert type(model.user["city"]) is nn.Embedding
    assert type(model.tags) is nn.EmbeddingBag
    assert model.again is model.item
    assert isinstance(model.head, TiedHead)
    assert model.head.embedding is model.item
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    assert [name for name, _ in model.penalised[0][0]] == ["item", "item"]
    assert model.penalised[0][0][1][1] is model.item.weights[1]
    assert len(model.penalised[1]) == 3
    assert report.bytes_after < report.bytes_before / 2
    assert all(0 < each.fit_error < 1 for each in report.swapped)
    assert "head, tied to item, is a TiedHead" in str(report)
    found = losses(model, optimizer, steps=40)
    assert found[-1] < 0.7 * found[0]
    again = Model()
    swap_(again, [SwapRule(QUARTER, min_embeddings=100, fit=False)])
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(*batch()), model(*batch()))
    copied = copy.deepcopy(model)
    assert copied.head.embedding is copied.item


def test_a_dry_run_changes_nothing():
    model = Model()
    expected = {name: type(module) for name, module in model.named_modules()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    report = swap_(model, [SwapRule(QUARTER, pattern="item")], optimizers=[optimizer], dry_run=True)
    assert {name: type(module) for name, module in model.named_modules()} == expected
    done = swap_(model, [SwapRule(QUARTER, pattern="item")], optimizers=[optimizer])
    assert report.rewired == done.rewired
    assert report.bytes_after == done.bytes_after == sum(4 * p.numel() for p in model.item.parameters())
    assert "would be rewired: 1 parameters of the optimizer SGD" in str(report)


def test_bags_stay_bags_and_options_stay():
    model = Model().eval()
    before = model.tags(batch()[2])
    model.tags.requires_grad_(False)
    swap_(model, [SwapRule(FullTable, pattern="tags")])
    assert isinstance(model.tags, EmbeddingBag)
    assert not model.tags.training
    assert not model.tags.weight.requires_grad
    assert torch.equal(model.tags(batch()[2]), before)


def test_fresh_rows_have_the_deviation_that_was_there():
    model = nn.ModuleDict({"item": nn.Embedding(20_000, D)})
    nn.init.normal_(model["item"].weight, std=0.3)
    swap_(model, [SwapRule(partial(HashTable, num_rows=5_000), fit=False)])
    assert model["item"].weight.std().item() == pytest.approx(0.3, rel=0.03)


def test_unified_tables_share_one_matrix():
    model = nn.ModuleDict({f"C{i}": nn.Embedding(100 + i, D) for i in range(9)})
    report = swap_(model, [SwapRule(partial(UnifiedTable, budget_fraction=0.2), fit=False)])
    assert len(list(model.parameters())) == 1
    assert report.bytes_after == 4 * sum(p.numel() for p in model.parameters()) <= 0.2 * report.bytes_before
    with pytest.raises(ValueError, match="share the rows of 'unified' and cannot be fitted one by one"):
        swap_(
            nn.ModuleDict({f"C{i}": nn.Embedding(100, D) for i in range(2)}),
            [SwapRule(partial(UnifiedTable, num_rows=50))],
        )


class Own(nn.Embedding):
    """Somebody's subclass."""


def with_(name, module):
    model = Model()
    setattr(model, name, module)
    return model


def shared_outside():
    model = Model()
    return model, nn.Sequential(model.item)


def held_in_an_attribute():
    model = Model()
    vars(model)["best"] = {"item": model.item.weight}
    return model


def hooked():
    model = Model()
    model.item.weight.register_hook(lambda grad: grad)
    return model


def tied_to_a_convolution():
    model = Model()
    model.other = nn.Embedding(V, D)
    model.other.weight = model.item.weight
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: with_("item", nn.Embedding(V, D, max_norm=1.0)), "'item' has max_norm, which a table has not"),
        (lambda: with_("item", nn.Embedding(V, D, scale_grad_by_freq=True)), "'item' has scale_grad_by_freq"),
        (hooked, "'item' has hooks"),
        (held_in_an_attribute, r"'best\['item'\]' holds the parameter of 'item'"),
        (shared_outside, "a Sequential outside of the model shares 'item'"),
        (tied_to_a_convolution, "'other', a Embedding, shares its weight with 'item'"),
        (lambda: with_("item", Own(V, D)), "no rule matches an embedding of the model, which has"),
        (lambda: nn.Embedding(V, D), "the model is itself an embedding"),
    ],
)
def test_what_is_refused(build, message):
    built = build()
    model = built[0] if isinstance(built, tuple) else built
    pattern = "" if isinstance(model, nn.Embedding) else "item"
    with pytest.raises(ValueError, match=message):
        swap_(model, [SwapRule(QUARTER, pattern=pattern)])
    assert not any(isinstance(module, Embedding) for module in model.modules())


def test_a_forgotten_optimizer_is_found():
    model = Model()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match="an optimizer, Adam, holds the parameter of 'item'"):
        swap_(model, [SwapRule(QUARTER, pattern="item")])
    swap_(model, [SwapRule(QUARTER, pattern="item")], optimizers=[optimizer])


def test_a_forgotten_list_is_found():
    model = Model()
    clipped = list(model.parameters())
    with pytest.raises(ValueError, match="a list of 5 that is no attribute of the model's modules holds"):
        swap_(model, [SwapRule(QUARTER, pattern="item")])
    assert clipped


def test_sparse_adam_needs_sparse_gradients():
    model = nn.ModuleDict({"item": nn.Embedding(V, D, sparse=True)})
    optimizer = torch.optim.SparseAdam(model.parameters())
    with pytest.raises(ValueError, match="MixedDimTable has parameters with dense gradients"):
        swap_(model, [SwapRule(partial(MixedDimTable, row_dim=2))], optimizers=[optimizer])
    swap_(model, [SwapRule(QUARTER)], optimizers=[optimizer])
    model["item"](torch.tensor([3])).sum().backward()
    optimizer.step()


def test_subclasses_are_taken_where_asked():
    model = with_("item", Own(V, D))
    swap_(model, [SwapRule(QUARTER, pattern="item", subclasses=True)])
    assert isinstance(model.item, Embedding)


@pytest.mark.parametrize("table", [QRTable("a", V, D), FullTable("a", V, D), MixedDimTable("a", V, D, row_dim=3)])
@pytest.mark.parametrize("padding_idx", [None, 3])
def test_a_tied_head_scores_with_the_vectors(table, padding_idx):
    embedding = Embedding(table, padding_idx=padding_idx)
    hidden = torch.randn(2, 4, D, requires_grad=True)
    whole, chunked = (TiedHead(embedding, bias=nn.Parameter(torch.randn(V)), chunk=chunk) for chunk in (1 << 15, 33))
    chunked.bias = whole.bias
    grads = []
    for head in (whole, chunked):
        scores = head(hidden)
        assert scores.shape == (2, 4, V)
        assert_close(scores, F.linear(hidden, embedding.weight, head.bias))
        scores.square().sum().backward()
        grads.append([hidden.grad, head.bias.grad, *(parameter.grad for parameter in embedding.parameters())])
        hidden.grad = head.bias.grad = None
        embedding.zero_grad()
    for first, second in zip(*grads, strict=True):
        assert_close(first, second, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in whole.named_parameters()] == ["bias"]
    assert torch.equal(whole.weight, embedding.weight)

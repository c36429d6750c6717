"""Memory activations and PISA against loops over users, sessions and events."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from recsys.models import PISA
from recsys.models.actr import Cooccurrence, Histories, base_level, partial_matching, spreading, succession
from tests.models.session_loops import add, dot, feed_forward, linear, norm, softmax_read

NUM_ITEMS, DIM = 6, 4
USERS = [
    # (item, session, time)
    [(1, 0, 10), (2, 0, 20), (1, 0, 30), (3, 1, 500), (2, 1, 510), (4, 2, 900)],
    [(5, 0, 0)],
    [(6, 0, 5), (6, 1, 400), (1, 1, 410), (6, 1, 420)],
]
REFERENCES = [[500, 900, 1000], [100, 100, 100], [400, 520, 520]]
OTHER_SESSIONS = [[1, 2, 3], [1, 2], [2, 3, 4], [1, 6]]


def histories():
    width = max(len(user) for user in USERS)
    columns = torch.zeros(3, len(USERS), width, dtype=torch.int64)
    for row, user in enumerate(USERS):
        columns[:, row, : len(user)] = torch.tensor(user).t()
        columns[1, row, len(user) :] = user[-1][1]
    return Histories(columns[0], columns[1], columns[2], torch.tensor(REFERENCES))


def cooccurrence():
    items = torch.tensor([item for session in OTHER_SESSIONS for item in session])
    numbers = torch.tensor([n for n, session in enumerate(OTHER_SESSIONS) for _ in session])
    return Cooccurrence.of_sessions(NUM_ITEMS, items, numbers)


def slow_share(user, row, session, item, decay=0.5):
    """Softmax over the user's items of the log of the summed powers, as the paper writes it."""
    reference = REFERENCES[row][session]
    levels = {
        other: math.log(sum(max(1, reference - t) ** -decay for i, s, t in user if i == other and s <= session))
        for other in {i for i, s, _ in user if s <= session}
    }
    total = sum(math.exp(level) for level in levels.values())
    return math.exp(levels[item]) / total if item in levels else 0.0


def slow_pair(first, second):
    count = {
        (a, b): sum(a in s and b in s for s in OTHER_SESSIONS)
        for a in range(1, NUM_ITEMS + 1)
        for b in range(1, NUM_ITEMS + 1)
        if a != b
    }
    degree = {a: sum(count[a, b] for b in range(1, NUM_ITEMS + 1) if b != a) for a in range(1, NUM_ITEMS + 1)}
    if first == second or not count[first, second]:
        return 0.0
    return count[first, second] / math.sqrt(degree[first] * degree[second])


def distinct(user, session):
    return list(dict.fromkeys(item for item, s, _ in user if s == session))


def check_shares(shares, slow):
    for row, user in enumerate(USERS):
        for session in range(user[-1][1] + 1):
            for event, (item, _, _) in enumerate(user):
                assert shares[row, session, event].item() == pytest.approx(slow(user, row, session, item), rel=1e-5)


def test_base_level_is_the_softmax_of_the_papers_activation():
    check_shares(base_level(histories(), 0.5), slow_share)


def slow_succession(user, row, session, item, decay=0.5):
    past = [(other, REFERENCES[row][session] - time) for other, s, time in user if s <= session]
    after = [(other, age) for (before, _), (other, age) in pairwise(past) if before == past[-1][0]]
    found = sum(max(1, age) ** -decay for other, age in after if other == item)
    return found / sum(max(1, age) ** -decay for _, age in after) if after else 0.0


def test_succession_is_the_share_of_what_has_followed_the_last_item():
    shares = succession(histories(), 0.5)
    check_shares(shares, slow_succession)
    assert shares[0, 1, 0].item() == shares[0, 1, 2].item() == 1  # only item 1 has followed item 2
    assert 0 < shares[2, 2, 0].item() < shares[2, 2, 2].item()  # item 1 followed item 6 later than item 6 itself did


def test_cooccurrence_of_every_pair():
    ids = torch.arange(1, NUM_ITEMS + 1)
    first, second = torch.meshgrid(ids, ids, indexing="ij")
    expected = [[slow_pair(a, b) for b in ids.tolist()] for a in ids.tolist()]
    assert_close(cooccurrence()(first, second), torch.tensor(expected))
    nothing = Cooccurrence.of_sessions(NUM_ITEMS, torch.tensor([3, 4]), torch.tensor([0, 1]))
    assert not nothing(first, second).any()


def test_members_are_the_first_events_of_distinct_items():
    members = histories().members
    for row, user in enumerate(USERS):
        for session in range(3):
            items = histories().items[row][members[row, session]].tolist()
            assert items == distinct(user, session)


def slow_activations(user, row, vectors, session):
    """Base level, spreading and partial matching of every distinct item of a session."""
    items = distinct(user, session)
    return {
        item: (
            slow_share(user, row, session, item),
            sum(slow_pair(item, other) for other in items if other != item),
            sum(dot(vectors[item], vectors[other]) for other in items if other != item),
        )
        for item in items
    }


def inputs():
    torch.manual_seed(0)
    table = torch.randn(NUM_ITEMS + 1, DIM, dtype=torch.float64)
    given = histories()
    vectors = (table[given.items] * given.is_event.unsqueeze(2)).requires_grad_()
    return table.tolist(), vectors, given, spreading(given, given.members, cooccurrence())


def build(**options):
    torch.manual_seed(1)
    model = PISA(DIM, 5, num_blocks=1, **options).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "component_weights":
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def test_spreading_and_partial_matching_of_every_item():
    table, vectors, given, evoked = inputs()
    matching = partial_matching(vectors, given.members)
    for row, user in enumerate(USERS):
        for event, (item, session, _) in enumerate(user):
            if given.members[row, session, event]:
                _, spread, match = slow_activations(user, row, table, session)[item]
                assert evoked[row, event].item() == pytest.approx(spread, abs=1e-6)
                assert matching[row, event].item() == pytest.approx(match, abs=1e-6)


def unit(values):
    length = math.sqrt(dot(values, values)) or 1.0
    return [value / length for value in values]


def slow_user(model, user, row, table):
    """The user's states after each session."""
    weights = (model.component_weights.relu() * model.components_used).tolist()
    sessions, long_terms = [], []
    for session in range(user[-1][1] + 1):
        activations = slow_activations(user, row, table, session)
        strengths = {
            item: (sum(w * max(a, 0.0) for w, a in zip(weights, found, strict=True)) + 1e-8) ** model.flatness
            for item, found in activations.items()
        }
        total = sum(strengths.values())
        sessions.append([sum(s / total * table[i][d] for i, s in strengths.items()) for d in range(DIM)])
        past = {item for item, s, _ in user if s <= session}
        shares = sorted(((slow_share(user, row, session, item), item) for item in past), reverse=True)
        best = shares[: model.num_favourites]
        long_terms.append(
            unit([sum(share**model.long_term_flatness * table[item][d] for share, item in best) for d in range(DIM)])
        )
    positions = model.positions.tolist()
    hidden = [add([2.0 * v for v in x], p) for x, p in zip(sessions, positions, strict=False)]
    for block in model.blocks:
        normed = [norm(block.attention_norm, x) for x in hidden]
        rows = [linear(block.key_value, x) for x in hidden]
        queries = [linear(block.query, x) for x in normed]
        read = softmax_read(
            queries, [r[:DIM] for r in rows], [r[DIM:] for r in rows], block.num_heads, lambda i: range(i + 1)
        )
        mixed = [norm(block.forward_norm, add(x, linear(block.output, y))) for x, y in zip(normed, read, strict=True)]
        hidden = [add(x, feed_forward(block.feed_forward, x, lambda v: max(v, 0.0))) for x in mixed]
    users = []
    for state, long_term, session in zip(hidden, long_terms, sessions, strict=True):
        short_term = unit(state)
        logits = linear(model.mixture, long_term + short_term) if model.num_favourites else [-math.inf, 0.0]
        share = 1 / (1 + math.exp(logits[1] - logits[0]))
        mixed = [share * a + (1 - share) * b for a, b in zip(long_term, short_term, strict=True)]
        users.append(unit(add(mixed, session)))
    return users, sessions, long_terms


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_favourites": 1},
        {"num_favourites": 0},
        {"long_term_flatness": 0.5},
        {"components": (0.2, 0.0, 0.0), "flatness": 1.0},
        {"components": (0.0, 0.1, 0.5)},
    ],
    ids=str,
)
def test_equals_the_slow_loop(options):
    model = build(**options)
    table, vectors, given, evoked = inputs()
    states = model(vectors, given, evoked)
    for row, user in enumerate(USERS):
        for actual, expected in zip(
            (states.users, states.sessions, states.long_term), slow_user(model, user, row, table), strict=True
        ):
            expected = torch.tensor(expected, dtype=torch.float64)
            assert_close(actual[row, : len(expected)], expected, rtol=1e-5, atol=1e-6)


def test_later_sessions_change_nothing_before_them():
    model = build()
    _, vectors, given, evoked = inputs()
    states = model(vectors, given, evoked)
    changed = vectors.detach().clone()
    changed[0, 5] *= -2
    later = model(changed, given, evoked)
    for name in ("users", "sessions", "long_term"):
        assert_close(getattr(states, name)[0, :2], getattr(later, name)[0, :2])
        assert not torch.allclose(getattr(states, name)[0, 2], getattr(later, name)[0, 2])


@pytest.mark.parametrize("options", [{}, {"num_favourites": 0}], ids=str)
def test_gradients_reach_everything_that_is_used(options):
    model = build(**options)
    _, vectors, given, evoked = inputs()
    states = model(vectors, given, evoked)
    weights = torch.randn(DIM, dtype=torch.float64)
    ((states.users + states.sessions + states.long_term) @ weights).square().sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())
    for row, user in enumerate(USERS):
        for item in {item for item, _, _ in user}:
            assert vectors.grad[row, given.items[row] == item].any(), (row, item)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0.0}, "decay must be above 0, got 0.0"),
        ({"flatness": 0.0}, r"flatness must be in \(0, 1\], got 0.0"),
        ({"long_term_flatness": 1.5}, r"long_term_flatness must be in \(0, 1\], got 1.5"),
        ({"components": (0.0, 0.0, 0.0)}, "components must be three weights"),
        ({"num_favourites": -1}, "num_favourites must be at least 0, got -1"),
        ({"num_heads": 3}, "num_heads must divide embedding_dim=4, got 3"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PISA(DIM, 5, **options)


def test_too_many_sessions_are_refused():
    _, vectors, given, evoked = inputs()
    with pytest.raises(ValueError, match="3 sessions exceed the model's max_length=2"):
        PISA(DIM, 2).double()(vectors, given, evoked)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"items": [[1]]}, "items must be integers of two dimensions, got list"),
        ({"items": torch.ones(3, 6)}, "items must be integers .* torch.float32"),
        ({"sessions": torch.full((3, 6), -1)}, r"sessions must be in \[0, 3\), the references, got -1 to -1"),
        ({"sessions": torch.full((3, 6), 9)}, r"sessions must be in \[0, 3\), the references, got 9 to 9"),
        ({"times": torch.ones(3, 5)}, r"times must be \[3, 6\], as items are, got \[3, 5\]"),
        ({"references": torch.ones(2, 3)}, r"references must be \[3, 3\], as items are, got \[2, 3\]"),
    ],
)
def test_histories_whose_parts_do_not_go_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(histories(), **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"histories": torch.ones(3)}, "histories must be Histories, got"),
        ({"vectors": torch.ones(1, 6, DIM)}, r"vectors must be floating-point numbers \[3, 6, 4\], got \[1, 6, 4\]"),
        ({"vectors": torch.ones(3, 6, DIM).double()}, "vectors must be as its parameters"),
        ({"spreading": torch.ones(3, 5)}, r"spreading must be floating-point numbers \[3, 6\]"),
        ({"spreading": None}, r"spreading must be .* got NoneType"),
    ],
)
def test_what_pisa_cannot_read_is_refused(changed, message):
    given = {"vectors": torch.ones(3, 6, DIM), "histories": histories(), "spreading": torch.zeros(3, 6)}
    with pytest.raises(ValueError, match=message):
        PISA(DIM, 5)(**{**given, **changed})

"""The session models again, one session, one position and one number at a time: the oracles of the tests."""

from __future__ import annotations

import math
from itertools import pairwise

from tests.models.loops import dot, linear


def add(left, right):
    return [x + y for x, y in zip(left, right, strict=True)]


def layer_norm(values, eps, layer=None):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    normed = [(value - mean) / math.sqrt(variance + eps) for value in values]
    if layer is None:
        return normed
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [value * w + b for value, w, b in zip(normed, weight, bias, strict=True)]


def norm(layer, values):
    return layer_norm(values, layer.eps, layer)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def silu(value):
    return value * sigmoid(value)


def gelu(value):
    return value * (1 + math.erf(value / math.sqrt(2))) / 2


def positioned(module, vectors):
    scale = math.sqrt(len(vectors[0]))
    return [
        add([scale * value for value in vector], position)
        for vector, position in zip(vectors, module.positions.tolist(), strict=False)
    ]


def softmax_read(queries, keys, values, heads, visible):
    """Multi-head attention; visible(i) gives the positions that i reads."""
    width = len(queries[0]) // heads
    outputs = []
    for i, query in enumerate(queries):
        row = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = {j: dot(query[part], keys[j][part]) / math.sqrt(width) for j in visible(i)}
            total = sum(math.exp(score) for score in scores.values())
            weights = {j: math.exp(score) / total for j, score in scores.items()}
            row += [sum(weights[j] * values[j][part][d] for j in scores) for d in range(width)]
        outputs.append(row)
    return outputs


def feed_forward(layer, values, activation):
    return linear(layer.output, [activation(value) for value in linear(layer.hidden, values)])


def sasrec(model, vectors, times=None, masked=None):
    hidden = positioned(model.input, vectors)
    for block in model.blocks:
        normed = [norm(block.attention_norm, x) for x in hidden]
        key_values = [linear(block.key_value, x) for x in hidden]
        keys, values = ([row[: len(row) // 2] for row in key_values], [row[len(row) // 2 :] for row in key_values])
        queries = [linear(block.query, x) for x in normed]
        read = softmax_read(queries, keys, values, block.num_heads, lambda i: range(i + 1))
        mixed = [add(x, linear(block.output, y)) for x, y in zip(normed, read, strict=True)]
        mixed = [norm(block.forward_norm, x) for x in mixed]
        hidden = [add(x, feed_forward(block.feed_forward, x, lambda v: max(v, 0.0))) for x in mixed]
    return [norm(model.norm, x) for x in hidden]


def gru4rec(model, vectors, times=None, masked=None):
    inputs = vectors
    for layer in range(model.recurrent.num_layers):
        weights = [getattr(model.recurrent, f"{kind}_l{layer}").tolist() for kind in ("weight_ih", "weight_hh")]
        biases = [getattr(model.recurrent, f"{kind}_l{layer}").tolist() for kind in ("bias_ih", "bias_hh")]
        width = model.recurrent.hidden_size
        state, states = [0.0] * width, []
        for vector in inputs:
            from_input = [dot(row, vector) + b for row, b in zip(weights[0], biases[0], strict=True)]
            from_state = [dot(row, state) + b for row, b in zip(weights[1], biases[1], strict=True)]
            new_state = []
            for d in range(width):
                reset = sigmoid(from_input[d] + from_state[d])
                update = sigmoid(from_input[width + d] + from_state[width + d])
                proposal = math.tanh(from_input[2 * width + d] + reset * from_state[2 * width + d])
                new_state.append((1 - update) * proposal + update * state[d])
            state = new_state
            states.append(state)
        inputs = states
    return [linear(model.output, x) for x in inputs]


def time_bucket(gap):
    return min(128, math.floor(math.log(max(1, abs(gap))) / 0.301))


def hstu(model, vectors, times=None, masked=None):
    hidden = positioned(model.input, vectors)
    for block in model.blocks:
        projection = list(zip(*block.projection.tolist(), strict=True))
        projected = [[silu(dot(row, layer_norm(x, 1e-6))) for row in projection] for x in hidden]
        bounds = [sum(block.widths[:i]) for i in range(5)]
        gates, values, queries, keys = ([row[start:end] for row in projected] for start, end in pairwise(bounds))
        by_distance = block.bias.by_distance.tolist()
        output = []
        for i in range(len(hidden)):
            read = []
            for head in range(block.num_heads):
                qk, vs = (len(x[0]) // block.num_heads for x in (queries, values))
                total = [0.0] * vs
                for j in range(i + 1):
                    score = dot(queries[i][head * qk : (head + 1) * qk], keys[j][head * qk : (head + 1) * qk])
                    score += by_distance[i - j + block.max_length - 1]
                    if model.use_times:
                        score += block.bias.by_time.tolist()[time_bucket(times[i] - times[j])]
                    weight = silu(score) / block.max_length
                    total = [t + weight * v for t, v in zip(total, values[j][head * vs : (head + 1) * vs], strict=True)]
                read += total
            gated = [g * r for g, r in zip(gates[i], layer_norm(read, 1e-6), strict=True)]
            output.append(add(hidden[i], linear(block.output, gated)))
        hidden = output
    return hidden


def transformer(block, hidden, visible):
    projected = [linear(block.query_key_value, norm(block.attention_norm, x)) for x in hidden]
    width = len(hidden[0])
    queries, keys, values = ([row[k * width : (k + 1) * width] for row in projected] for k in range(3))
    read = softmax_read(queries, keys, values, block.num_heads, visible)
    hidden = [add(x, linear(block.output, y)) for x, y in zip(hidden, read, strict=True)]
    return [add(x, feed_forward(block.feed_forward, norm(block.forward_norm, x), gelu)) for x in hidden]


def bert4rec(model, vectors, times=None, masked=None):
    vectors = [model.mask.tolist() if hide else x for x, hide in zip(vectors, masked, strict=True)]
    hidden = positioned(model.input, vectors)
    for block in model.blocks:
        hidden = transformer(block, hidden, lambda i: range(len(vectors)))
    transformed = [linear(model.transform, norm(model.norm, x)) for x in hidden]
    return [norm(model.transform_norm, [gelu(value) for value in x]) for x in transformed]


def m2trec(model, vectors, times=None, masked=None):
    hidden = positioned(model.input, vectors)
    for block in model.blocks:
        hidden = transformer(block, hidden, lambda i: range(i + 1))
    normed = [norm(model.norm, x) for x in hidden]
    return [[sum(x[d] for x in normed[: i + 1]) / (i + 1) for d in range(len(x0))] for i, x0 in enumerate(normed)]

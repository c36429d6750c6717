"""The models again, one sample and one number at a time, in Python floats: the oracles of the tests."""

from __future__ import annotations

import math


def dot(left, right):
    return sum(x * y for x, y in zip(left, right, strict=True))


def linear(layer, inputs):
    biases = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return [dot(row, inputs) + bias for row, bias in zip(layer.weight.tolist(), biases, strict=True)]


def relu_layers(mlp, inputs):
    for layer in mlp.layers:
        if hasattr(layer, "weight"):
            inputs = [max(value, 0.0) for value in linear(layer, inputs)]
    return inputs


def logit_mlp(mlp, inputs):
    return linear(mlp.output, relu_layers(mlp.hidden, inputs))[0]


def flat(vectors, dense):
    return [value for vector in vectors for value in vector] + dense


def logistic_regression(model, vectors, dense):
    return sum(flat(vectors, [])) + dot(model.dense_weight.tolist(), dense) + model.bias.item()


def dlrm(model, vectors, dense):
    dense_vector = relu_layers(model.bottom, dense) if dense else []
    vectors = [dense_vector, *vectors] if dense else vectors
    pairs = [dot(vectors[i], vectors[j]) for i in range(len(vectors)) for j in range(i)]
    return logit_mlp(model.top, dense_vector + pairs)


def deepfm(model, vectors, dense):
    inputs = flat(vectors, dense)
    scaled = [[x * v for v in row] for x, row in zip(dense, model.dense_vectors.tolist(), strict=True)]
    vectors = vectors + scaled
    pairs = sum(dot(vectors[i], vectors[j]) for i in range(len(vectors)) for j in range(i))
    return linear(model.linear, inputs)[0] + pairs + logit_mlp(model.mlp, inputs)


def crosses(network, x0):
    x = x0
    for layer in network.layers:
        products = linear(layer, x) if hasattr(layer, "weight") else linear(layer[1], linear(layer[0], x))
        x = [a * b + c for a, b, c in zip(x0, products, x, strict=True)]
    return x


def dcnv2(model, vectors, dense):
    inputs = flat(vectors, dense)
    return linear(model.cross_output, crosses(model.cross, inputs))[0] + logit_mlp(model.mlp, inputs)


def stacked_dcnv2(model, vectors, dense):
    return logit_mlp(model.mlp, crosses(model.cross, flat(vectors, dense)))


def gated(gate, context, vectors, dense):
    read = [value for position in context if position < len(vectors) for value in vectors[position]]
    read += [dense[position - len(vectors)] for position in context if position >= len(vectors)]
    read = read if context else gate.learned_context[0].tolist()
    logits = linear(gate.gate, relu_layers(gate.hidden, read))
    return [2 / (1 + math.exp(-logit)) * value for logit, value in zip(logits, flat(vectors, dense), strict=True)]


def finalmlp(model, vectors, dense, contexts=((), ())):
    inputs = [flat(vectors, dense)] * 2
    if model.gates is not None:
        inputs = [gated(gate, context, vectors, dense) for gate, context in zip(model.gates, contexts, strict=True)]
    o1, o2 = relu_layers(model.stream1, inputs[0]), relu_layers(model.stream2, inputs[1])
    fusion = model.fusion
    weights = fusion.head_weight.tolist()
    dim1, dim2 = len(weights[0]), len(weights[0][0])
    bilinear = sum(
        o1[h * dim1 + i] * weights[h][i][j] * o2[h * dim2 + j]
        for h in range(len(weights))
        for i in range(dim1)
        for j in range(dim2)
    )
    return linear(fusion.linear1, o1)[0] + linear(fusion.linear2, o2)[0] + bilinear

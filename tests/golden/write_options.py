#!/usr/bin/python3
"""Writes the golden vectors of the memory's options, options_*.h5, and of Qwen's, qwen*.h5 (README.md has the format).

A float64 model of its own, in NumPy, after docs/design.md: token by token and head by head, every sum as its equation
has it. Gradients by complex steps, d loss / d x = Im loss(x + ih) / h, which neither loses digits nor shares anything
with back-propagation; as many models as there are x run side by side.

  tests/golden/write_options.py FOLDER [NAME...]
"""

import sys

import h5py
import numpy

SIZES = {
    "vocab_size": 13, "hidden_size": 8, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_size": 4,
    "ffn_size": 10, "segment_length": 4, "memory_epsilon": 1e-6, "norm_epsilon": 1e-5, "rope_theta": 100.0,
    "tie_embeddings": 0,
}
OFF = {"memory_update": "linear", "empty_memory": "local", "gate": "mix", "memory_readout": "normalized", "memory_decay": 0,
       "overlap": 0}
LATER_OFF = {"memory_features": "elu", "memory_query": "query", "memory_shift": 0}
QWEN_OFF = {"qkv_bias": 0, "qk_norm": 0}
FILES = {
    "options_rms": {"memory_readout": "rms"},
    "options_add": {"gate": "add"},
    "options_rms_add_delta": {"memory_readout": "rms", "gate": "add", "memory_update": "delta",
                              "empty_memory": "gated"},
    "options_overlap": {"overlap": 3},
    "options_overlap_rms_add_delta": {"overlap": 4, "memory_readout": "rms", "gate": "add", "memory_update": "delta"},
    "options_decay": {"memory_decay": 1},
    "options_decay_delta": {"memory_decay": 1, "memory_update": "delta"},
    "options_all": {"memory_decay": 1, "overlap": 2, "memory_readout": "rms", "gate": "add"},
    # A segment as long as the lanes: what Qwen2 and Qwen3 compute, whatever the memory.
    "qwen2": {"qkv_bias": 1, "segment_length": 18},
    "qwen3": {"qk_norm": 1, "segment_length": 18},
    "qwen2_segments": {"qkv_bias": 1, "memory_update": "delta", "empty_memory": "gated"},
    "qwen3_segments": {"qk_norm": 1, "memory_readout": "rms", "gate": "add", "overlap": 3},
    "qwen_both_segments": {"qkv_bias": 1, "qk_norm": 1, "memory_update": "delta"},
    "options_shift": {"memory_shift": 1},
    "options_shift_delta": {"memory_shift": 1, "memory_update": "delta"},
    "options_query_key": {"memory_query": "key"},
    "options_identity": {"memory_features": "identity", "memory_readout": "rms"},
    "options_associative": {"memory_features": "identity", "memory_query": "key", "memory_shift": 1, "memory_decay": 1,
                            "overlap": 2, "memory_readout": "rms", "gate": "add"},
}
# Two lanes of 18 tokens: four segments and a short one; documents that begin inside a segment and at a border, twice in
# one segment, and one token before its end.
DOCUMENTS = [[0] * 18, [1] * 6 + [2] * 5 + [3] * 1 + [4] * 1 + [5] * 1 + [6] * 4]
STEP = 1e-30


def sigma(x):
    return numpy.where(x.real > 0, x + 1, numpy.exp(numpy.where(x.real > 0, 0, x)))


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def rms(x, epsilon):
    return numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)


def rotated(x, positions, theta):
    """x (..., tokens, head_size)"""
    half = x.shape[-1] // 2
    angles = numpy.array(positions)[:, None] * theta ** (-numpy.arange(half) / half)
    cosine, sine = numpy.cos(angles), numpy.sin(angles)
    return numpy.concatenate([x[..., :half] * cosine - x[..., half:] * sine,
                              x[..., half:] * cosine + x[..., :half] * sine], axis=-1)


def by(x, weight):
    """x (..., tokens, in) times a weight (..., out, in)"""
    return x @ numpy.swapaxes(weight, -1, -2)


def scaled(x, weight, epsilon):
    """RMSNorm of x (..., tokens, hidden) with a weight (..., hidden)"""
    return x / rms(x, epsilon) * weight[..., None, :]


class Lane:
    """Attention of one layer over one lane, with the memory of each key/value head. The first axis of every array are
    models that differ in one parameter."""

    def __init__(self, c, p, prefix, document):
        self.c, self.p, self.prefix, self.document = c, p, prefix, document
        self.held = None  # the document in memory

    def parameter(self, name):
        return self.p[self.prefix + name]

    def __call__(self, x):
        c = self.c
        size, tokens = c["head_size"], x.shape[1]
        q, k, v = (by(x, self.parameter(name + "_proj.weight")) for name in "qkv")
        if c["qkv_bias"]:
            q, k, v = (y + self.parameter(name + "_proj.bias")[:, None] for y, name in ((q, "q"), (k, "k"), (v, "v")))
        self.q, self.k, self.v = (y.reshape(*y.shape[:2], -1, size).swapaxes(1, 2) for y in (q, k, v))
        if c["qk_norm"]:
            self.q, self.k = (y / rms(y, c["norm_epsilon"]) * self.parameter(name + "_norm.weight")[:, None, None]
                              for y, name in ((self.q, "q"), (self.k, "k")))
        # Where only a bias or a norm differs from model to model, the rest is of one.
        models = max(len(q), len(k), len(v))
        self.q, self.k, self.v = (numpy.broadcast_to(y, (models, *y.shape[1:])) for y in (self.q, self.k, self.v))
        self.matrix = numpy.zeros((len(k), c["num_kv_heads"], size, size), complex)
        self.norm = numpy.zeros((len(k), c["num_kv_heads"], size), complex)
        output = numpy.zeros((len(q), c["num_heads"], tokens, size), complex)
        for begin in range(0, tokens, c["segment_length"]):
            end = min(begin + c["segment_length"], tokens)
            for token in range(begin, end):
                for head in range(c["num_heads"]):
                    output[:, head, token] = self.attended(begin, token, head)
            self.write(begin, end)
        return by(output.swapaxes(1, 2).reshape(len(q), tokens, -1), self.parameter("o_proj.weight"))

    def attended(self, begin, token, head):
        c = self.c
        kv = head * c["num_kv_heads"] // c["num_heads"]
        local = self.local(begin, token, head, kv)
        reads = self.document[token] == self.held
        if not reads and c["empty_memory"] == "local":
            return local
        gate = sigmoid(self.parameter("memory_gate")[:, head, None])
        asks = self.q[:, head, token] if c["memory_query"] == "query" else self.k[:, kv, token]
        recalled = self.recalled(asks, head, kv) if reads else 0
        return gate * recalled + (local if c["gate"] == "add" else (1 - gate) * local)

    def local(self, begin, token, head, kv):
        theta, size = self.c["rope_theta"], self.c["head_size"]
        first = max(begin - self.c["overlap"], 0)
        seen = [t for t in range(first, token + 1) if self.document[t] == self.document[token]]
        query = rotated(self.q[:, head, [token]], [token - begin], theta)
        keys = rotated(self.k[:, kv, seen], [t - begin for t in seen], theta)
        weights = numpy.exp((query * keys).sum(axis=-1) / numpy.sqrt(size))
        values = self.v[:, kv, seen]
        return (weights[..., None] * values).sum(axis=1) / weights.sum(axis=1, keepdims=True)

    def recalled(self, query, head, kv):
        epsilon = self.c["memory_epsilon"]
        read = product(self.features(query), self.matrix[:, kv])
        if self.c["memory_readout"] == "rms":
            return read / rms(read, epsilon) * self.parameter("memory_gain")[:, head]
        return read / (product(self.features(query), self.norm[:, kv, :, None]) + epsilon)

    def features(self, x):
        return sigma(x) if self.c["memory_features"] == "elu" else x

    def last(self, rows):
        """The last keys or values of the lane, zeros in front where it has fewer: (overlap, kv_heads * head_size)"""
        rows = rows[0].real.swapaxes(0, 1).reshape(rows.shape[2], -1)
        return numpy.concatenate([numpy.zeros((self.c["overlap"], rows.shape[1])), rows])[len(rows):]

    def write(self, begin, end):
        last = self.document[end - 1]
        if self.held != last:
            self.matrix, self.norm = 0 * self.matrix, 0 * self.norm
        matrix, norm = self.matrix.copy(), self.norm.copy()
        if self.c["memory_decay"]:
            shares = sigmoid(self.parameter("memory_decay"))
            matrix, norm = matrix * shares[..., None, None], norm * shares[..., None]
        for token in range(begin, end):
            if self.document[token] != last:
                continue
            key = token - 1 if self.c["memory_shift"] else token
            if key < begin or self.document[key] != last:
                continue
            for kv in range(self.c["num_kv_heads"]):
                features, value = self.features(self.k[:, kv, key]), self.v[:, kv, token]
                if self.c["memory_update"] == "delta":
                    known = product(features, self.norm[:, kv, :, None]) + self.c["memory_epsilon"]
                    value = value - product(features, self.matrix[:, kv]) / known
                matrix[:, kv] += features[..., None] * value[:, None, :]
                norm[:, kv] += features
        self.matrix, self.norm, self.held = matrix, norm, last


def product(row, matrix):
    """(models, in) times (models, in, out)"""
    return (row[..., None] * matrix).sum(axis=1)


def forward(c, p, batch):
    """-> for each model the weighted mean of the cross-entropy, and the logits, and the lanes of each layer"""
    logits, layers = [], [[] for _ in range(c["num_layers"])]
    models = max(len(value) for value in p.values())
    for lane, document in enumerate(batch["documents"]):
        x = p["embed_tokens.weight"][:, batch["tokens"][lane]].astype(complex)
        x = x + numpy.zeros((models, 1, 1))
        for layer in range(c["num_layers"]):
            name = f"layers.{layer}."
            layers[layer].append(Lane(c, p, name + "self_attn.", document))
            x = x + layers[layer][-1](scaled(x, p[name + "input_layernorm.weight"], c["norm_epsilon"]))
            normal = scaled(x, p[name + "post_attention_layernorm.weight"], c["norm_epsilon"])
            gate, up = (by(normal, p[f"{name}mlp.{which}_proj.weight"]) for which in ("gate", "up"))
            x = x + by(gate * sigmoid(gate) * up, p[name + "mlp.down_proj.weight"])
        logits.append(by(scaled(x, p["norm.weight"], c["norm_epsilon"]), p["lm_head.weight"]))
    logits = numpy.stack(logits, axis=1)
    targets = numpy.broadcast_to(batch["targets"][None, ..., None], (*logits.shape[:-1], 1))
    losses = numpy.log(numpy.exp(logits).sum(axis=-1)) - numpy.take_along_axis(logits, targets, axis=-1)[..., 0]
    weights = batch["loss_weights"]
    return (weights * losses).sum(axis=(1, 2)) / weights.sum(), logits, layers


def gradients(c, p, batch):
    result = {}
    for name, value in p.items():
        moved = numpy.repeat(value.astype(complex), value.size, axis=0).reshape(value.size, -1)
        moved += 1j * STEP * numpy.eye(value.size)
        losses = forward(c, {**p, name: moved.reshape(value.size, *value.shape[1:])}, batch)[0]
        result[name] = (losses.imag / STEP).reshape(value.shape[1:])
    return result


def parameters(c, random):
    hidden, ffn, size = c["hidden_size"], c["ffn_size"], c["head_size"]
    q, kv = c["num_heads"] * size, c["num_kv_heads"] * size
    p = {"embed_tokens.weight": random.normal(0, 0.8, (c["vocab_size"], hidden))}
    for layer in range(c["num_layers"]):
        name = f"layers.{layer}."
        for suffix, shape in {
                "self_attn.q_proj.weight": (q, hidden), "self_attn.k_proj.weight": (kv, hidden),
                "self_attn.v_proj.weight": (kv, hidden), "self_attn.o_proj.weight": (hidden, q),
                "mlp.gate_proj.weight": (ffn, hidden), "mlp.up_proj.weight": (ffn, hidden),
                "mlp.down_proj.weight": (hidden, ffn)}.items():
            p[name + suffix] = random.normal(0, 0.5, shape)
        p[name + "input_layernorm.weight"] = random.uniform(0.5, 1.5, hidden)
        p[name + "post_attention_layernorm.weight"] = random.uniform(0.5, 1.5, hidden)
        p[name + "self_attn.memory_gate"] = random.normal(0, 1, c["num_heads"])
        if c["memory_readout"] == "rms":
            p[name + "self_attn.memory_gain"] = random.uniform(-1, 1, (c["num_heads"], size))
        if c["memory_decay"]:
            p[name + "self_attn.memory_decay"] = random.normal(1, 1, c["num_kv_heads"])
        if c["qkv_bias"]:
            for which, width in (("q", q), ("k", kv), ("v", kv)):
                p[f"{name}self_attn.{which}_proj.bias"] = random.normal(0, 0.5, width)
        if c["qk_norm"]:
            for which in "qk":
                p[f"{name}self_attn.{which}_norm.weight"] = random.uniform(0.5, 1.5, size)
    p["norm.weight"] = random.uniform(0.5, 1.5, hidden)
    p["lm_head.weight"] = random.normal(0, 0.5, (c["vocab_size"], hidden))
    return {name: value[None] for name, value in p.items()}


def main(folder, only=()):
    for seed, (name, options) in enumerate(FILES.items()):
        if only and name not in only:
            continue
        c = {**SIZES, **OFF, **QWEN_OFF, **LATER_OFF, **options}
        random = numpy.random.default_rng(seed)
        shape = numpy.array(DOCUMENTS).shape
        batch = {
            "tokens": random.integers(0, c["vocab_size"], shape),
            "targets": random.integers(0, c["vocab_size"], shape),
            "documents": numpy.array(DOCUMENTS),
            "loss_weights": (random.uniform(size=shape) < 0.8).astype(float),
        }
        p = parameters(c, random)
        loss, logits, layers = forward(c, p, batch)
        with h5py.File(f"{folder}/{name}.h5", "w", libver="earliest") as file:
            config = file.create_group("config")
            for key, value in c.items():
                if key not in {**QWEN_OFF, **LATER_OFF} or key in options:
                    config.attrs[key] = value
            for key, array in batch.items():
                file[key] = array
            for key, array in p.items():
                file["parameters/" + key] = array[0]
            file["expected/loss"] = loss[0].real
            file["expected/logits"] = logits[0].real
            for layer, lanes in enumerate(layers):
                file[f"expected/memory/{layer}/matrix"] = numpy.array([lane.matrix[0].real for lane in lanes])
                file[f"expected/memory/{layer}/norm"] = numpy.array([lane.norm[0].real for lane in lanes])
                if c["overlap"]:
                    file[f"expected/memory/{layer}/key"] = numpy.array([lane.last(lane.k) for lane in lanes])
                    file[f"expected/memory/{layer}/value"] = numpy.array([lane.last(lane.v) for lane in lanes])
            for key, array in gradients(c, p, batch).items():
                file["expected/gradients/" + key] = array


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

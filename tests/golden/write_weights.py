#!/usr/bin/python3
"""Writes the golden vectors with write weights: weights_linear.h5 and weights_delta.h5 (README.md has the format).

A float64 model of its own, in NumPy, after docs/design.md and the equations of core/kernels/memory.h. Gradients by
complex steps, d loss / d x = Im loss(x + ih) / h, which neither loses digits nor shares anything with back-propagation.

  tests/golden/write_weights.py FOLDER
"""

import sys

import h5py
import numpy

CONFIG = {
    "vocab_size": 13, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_size": 4,
    "ffn_size": 10, "segment_length": 4, "empty_memory": "local", "memory_epsilon": 1e-6, "norm_epsilon": 1e-5,
    "rope_theta": 100.0, "tie_embeddings": 0,
}
# Two lanes of 18 tokens: four segments and a short one; documents that begin inside a segment and at a border.
DOCUMENTS = [[0] * 18, [1] * 6 + [2] * 6 + [3] * 6]
# Repetitions of whole segments, tokens kept out, and weights between that differ inside a segment.
WEIGHTS = [
    [1, 1, 1, 1, 7, 7, 7, 7, 0, 2.5, 1, 0.5, 1000, 1000, 1000, 1000, 3, 0],
    [2, 0, 1, 4, 0.25, 3, 0, 0, 0, 0, 5, 1.5, 1, 1, 2, 6, 1, 1],
]


def sigma(x):
    return numpy.where(x.real > 0, x + 1, numpy.exp(numpy.where(x.real > 0, 0, x)))


def rms_norm(x, weight):
    return x / numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + CONFIG["norm_epsilon"]) * weight


def rotated(x, positions):
    half = x.shape[-1] // 2
    angles = positions[:, None] * CONFIG["rope_theta"] ** (-numpy.arange(half) / half)
    cosine, sine = numpy.cos(angles), numpy.sin(angles)
    first, second = x[:, :half], x[:, half:]
    return numpy.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=1)


def softmax_attention(q, k, v, document):
    count, size = q.shape
    q, k = rotated(q, numpy.arange(count)), rotated(k, numpy.arange(count))
    scores = q @ k.T / numpy.sqrt(size)
    visible = numpy.tril(document[:, None] == document[None, :])
    weights = numpy.where(visible, numpy.exp(scores), 0)
    return weights / weights.sum(axis=1, keepdims=True) @ v


def write(matrix, norm, k, v, weights, delta):
    """The memory after a segment's tokens of the document that stays in it."""
    features = sigma(k)
    values = v
    if delta:
        excess = (numpy.maximum(weights - 1, 0)[:, None] * features).sum(axis=0)
        values = v - features @ matrix / (features @ (norm + excess) + CONFIG["memory_epsilon"])[:, None]
    return matrix + features.T @ (weights[:, None] * values), norm + (weights[:, None] * features).sum(axis=0)


def attention(x, p, prefix, document, weights, delta):
    """One lane. -> attention's output, the memory after it"""
    heads, kv_heads, size = CONFIG["num_heads"], CONFIG["num_kv_heads"], CONFIG["head_size"]
    q, k, v = (x @ p[prefix + name + "_proj.weight"].T for name in "qkv")
    gates = 1 / (1 + numpy.exp(-p[prefix + "memory_gate"]))
    output = numpy.zeros((len(x), heads * size), complex)
    matrices, norms = [], []
    for kv_head in range(kv_heads):
        matrix, norm, held = numpy.zeros((size, size), complex), numpy.zeros(size, complex), None
        for begin in range(0, len(x), CONFIG["segment_length"]):
            segment = slice(begin, min(begin + CONFIG["segment_length"], len(x)))
            own = document[segment]
            keys, values = (y[segment, kv_head * size:(kv_head + 1) * size] for y in (k, v))
            for head in range(kv_head * heads // kv_heads, (kv_head + 1) * heads // kv_heads):
                query = q[segment, head * size:(head + 1) * size]
                local = softmax_attention(query, keys, values, own)
                features = sigma(query)
                recalled = features @ matrix / (features @ norm + CONFIG["memory_epsilon"])[:, None]
                gate = numpy.where(own == held, gates[head], 0)[:, None] if held is not None else 0
                output[segment, head * size:(head + 1) * size] = gate * recalled + (1 - gate) * local
            last = own == own[-1]
            if held != own[-1]:
                matrix, norm = 0 * matrix, 0 * norm
            matrix, norm = write(matrix, norm, keys[last], values[last], weights[segment][last], delta)
            held = own[-1]
        matrices.append(matrix)
        norms.append(norm)
    return output @ p[prefix + "o_proj.weight"].T, numpy.array(matrices), numpy.array(norms)


def forward(p, batch, delta):
    """-> the weighted mean of the cross-entropy, logits, and matrix and norm of each layer"""
    logits, memory = [], [[] for _ in range(CONFIG["num_layers"])]
    for lane in range(len(batch["tokens"])):
        x = p["embed_tokens.weight"][batch["tokens"][lane]].astype(complex)
        for layer in range(CONFIG["num_layers"]):
            name = f"layers.{layer}."
            normal = rms_norm(x, p[name + "input_layernorm.weight"])
            attended, matrix, norm = attention(normal, p, name + "self_attn.", batch["documents"][lane],
                                               batch["write_weights"][lane], delta)
            memory[layer].append((matrix, norm))
            x = x + attended
            normal = rms_norm(x, p[name + "post_attention_layernorm.weight"])
            gate = normal @ p[name + "mlp.gate_proj.weight"].T
            up = normal @ p[name + "mlp.up_proj.weight"].T
            x = x + gate / (1 + numpy.exp(-gate)) * up @ p[name + "mlp.down_proj.weight"].T
        logits.append(rms_norm(x, p["norm.weight"]) @ p["lm_head.weight"].T)
    logits = numpy.array(logits)
    chosen = numpy.take_along_axis(logits, batch["targets"][..., None], axis=-1)[..., 0]
    losses = numpy.log(numpy.exp(logits).sum(axis=-1)) - chosen
    weights = batch["loss_weights"]
    return (weights * losses).sum() / weights.sum(), logits, memory


def gradients(p, batch, delta):
    step = 1e-30
    result = {}
    for name, value in p.items():
        result[name] = numpy.zeros(value.shape)
        for index in numpy.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += 1j * step
            result[name][index] = forward({**p, name: moved}, batch, delta)[0].imag / step
    return result


def parameters(random):
    c = CONFIG
    q, kv = c["num_heads"] * c["head_size"], c["num_kv_heads"] * c["head_size"]
    p = {"embed_tokens.weight": random.normal(0, 0.8, (c["vocab_size"], c["hidden_size"]))}
    for layer in range(c["num_layers"]):
        name = f"layers.{layer}."
        for suffix, shape in {
                "self_attn.q_proj.weight": (q, c["hidden_size"]), "self_attn.k_proj.weight": (kv, c["hidden_size"]),
                "self_attn.v_proj.weight": (kv, c["hidden_size"]), "self_attn.o_proj.weight": (c["hidden_size"], q),
                "mlp.gate_proj.weight": (c["ffn_size"], c["hidden_size"]),
                "mlp.up_proj.weight": (c["ffn_size"], c["hidden_size"]),
                "mlp.down_proj.weight": (c["hidden_size"], c["ffn_size"])}.items():
            p[name + suffix] = random.normal(0, 0.5, shape)
        p[name + "input_layernorm.weight"] = random.uniform(0.5, 1.5, c["hidden_size"])
        p[name + "post_attention_layernorm.weight"] = random.uniform(0.5, 1.5, c["hidden_size"])
        p[name + "self_attn.memory_gate"] = random.normal(0, 1, c["num_heads"])
    p["norm.weight"] = random.uniform(0.5, 1.5, c["hidden_size"])
    p["lm_head.weight"] = random.normal(0, 0.5, (c["vocab_size"], c["hidden_size"]))
    return p


def main(folder):
    for seed, update in enumerate(["linear", "delta"]):
        random = numpy.random.default_rng(seed)
        shape = numpy.array(DOCUMENTS).shape
        batch = {
            "tokens": random.integers(0, CONFIG["vocab_size"], shape),
            "targets": random.integers(0, CONFIG["vocab_size"], shape),
            "documents": numpy.array(DOCUMENTS),
            "loss_weights": (random.uniform(size=shape) < 0.8).astype(float),
            "write_weights": numpy.array(WEIGHTS, float),
        }
        p = parameters(random)
        loss, logits, memory = forward(p, batch, update == "delta")
        with h5py.File(f"{folder}/weights_{update}.h5", "w", libver="earliest") as file:
            config = file.create_group("config")
            for key, value in {**CONFIG, "memory_update": update}.items():
                config.attrs[key] = value
            for name, array in batch.items():
                file[name] = array
            for name, array in p.items():
                file["parameters/" + name] = array
            file["expected/loss"] = loss.real
            file["expected/logits"] = logits.real
            for layer, lanes in enumerate(memory):
                file[f"expected/memory/{layer}/matrix"] = numpy.array([lane[0].real for lane in lanes])
                file[f"expected/memory/{layer}/norm"] = numpy.array([lane[1].real for lane in lanes])
            for name, array in gradients(p, batch, update == "delta").items():
                file["expected/gradients/" + name] = array


if __name__ == "__main__":
    main(sys.argv[1])

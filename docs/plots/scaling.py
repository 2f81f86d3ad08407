#!/usr/bin/env python3
"""The cost model of docs/measurements/2026-11-24-ranks.md: what it says of the measured points, and of a model of a
billion parameters on clusters that nobody has measured. Prints tables in Markdown and draws scaling.svg beside itself.

  docs/plots/scaling.py        needs python3-matplotlib for the picture
"""
import json
import math
import pathlib

import figures

HERE = pathlib.Path(__file__).resolve().parent
BACKWARD = 2 / 3  # of the computation


def alone(ranks, size, network, messages=0):
    """Seconds that the exchange of `size` bytes of gradients takes by itself."""
    return 2 * (ranks - 1) / ranks * size / network["bandwidth"] + network.get("message", 0.0) * messages


def predict(ranks, compute, size, network, tail, micro_batches=1, messages=0, first=0.0, sharded=False):
    """Seconds of a data-parallel step.

    compute        seconds that one rank computes with the machine for itself
    size           bytes of gradients as they travel
    network        "bandwidth": bytes/s that a rank sends and receives at once; "copy": seconds of a computing core that a
                   byte sent costs, where no core is idle; "together": speed of a rank whose neighbours on the host
                   compute, too, over its speed alone; "message": seconds of each of `messages` messages; "spread": standard
                   deviation of a rank's computation, relative: the slowest of all sets the pace
    tail           share of the gradients that is final only when backward ends: the first layer's attention
    micro_batches  of a step: gradients travel in the last one's backward, shared-out parameters in the first one's forward
    first          share of the parameters that is needed before forward begins: the embedding
    """
    if ranks == 1:
        return compute
    time = alone(ranks, size, network, messages)
    slowest = compute / network["together"] * (1 + network.get("spread", 0.0) * math.sqrt(2 * math.log(ranks)))
    part = slowest / micro_batches
    if sharded:  # sums of shares behind backward, parameters behind forward
        exposed = max(tail * time / 2, time / 2 - BACKWARD * part) + max(first * time / 2, time / 2 - (1 - BACKWARD) * part)
    else:
        exposed = max(tail * time, time - BACKWARD * part)
    return slowest + network["copy"] * 2 * (ranks - 1) / ranks * size + exposed


def predict_sequences(ranks, compute, flops, rule, model, tokens, together):
    """Seconds of a step of one sequence shared by ranks: docs/communication.md, "What it costs", with recomputed blocks, so
    that forward runs twice."""
    n, segments = tokens / ranks, tokens / ranks / model["segment"]
    d, heads, layers = model["head_size"], model["heads"], model["layers"]
    if rule == "delta":
        forward = 4 * n * d**2 + 2 * (segments + ranks) * d**3
        backward = 4 * n * d**2 + 2 * ranks * d**3
    else:
        forward = backward = (segments + ranks) * d**2
    extra = layers * heads * (2 * forward + backward)
    return (compute / ranks + compute * extra / flops) / together


def calibrate(data):
    """The networks, each with the constants that its calibration yields: `together` from two processes that do not
    communicate, `bandwidth` from the exchange of `small`'s gradients by itself, `copy` from `small`'s step."""
    networks, calibration = {}, data["calibration"]
    together = calibration["side_by_side"] / calibration["by_itself"]
    for name, p in calibration["networks"].items():
        network = {"together": together, "copy": 0.0, "bandwidth": p["gradient_bytes"] / p["exchange_seconds"]}
        if "copy_as" in p:
            network["copy"] = networks[p["copy_as"]]["copy"]
        else:
            missing = p["tokens"] / p["tokens_per_second"] - predict_point(p, network)
            network["copy"] = max(0.0, missing / p["gradient_bytes"])
        networks[name] = network
    return networks


def predict_point(p, network):
    return predict(2, p["tokens"] / p["alone"], p["gradient_bytes"], network, p["tail"], p.get("micro_batches", 1),
                   first=p.get("first", 0.0), sharded=p.get("sharded", False))


def check(data, networks):
    """Predicted against measured, of points that no constant was taken from."""
    print("| network | together | bandwidth, GB/s | copy, ns a byte |\n|---|---|---|---|")
    for name, n in networks.items():
        print(f"| {name} | {n['together']:.3f} | {n['bandwidth'] / 1e9:.2f} | {n['copy'] * 1e9:.2f} |")
    print("\n| measured | tokens/s a rank | predicted | error |\n|---|---|---|---|")
    rows = []
    for p in data["points"]:
        step = predict_point(p, networks[p["network"]])
        rows.append((f"{p['name']}, {p['network']}", p["tokens_per_second"], p["tokens"] / step))
    for p in data["sequences"]:
        step = predict_sequences(2, p["tokens"] / p["alone"], p["tokens"] * p["flops_per_token"], p["rule"], p,
                                 p["tokens"], networks["shared memory"]["together"])
        rows.append((p["name"], p["tokens_per_second"], p["tokens"] / 2 / step))
    for name, measured, predicted in rows:
        error = predicted / measured - 1
        print(f"| {name} | {measured:.1f} | {predicted:.1f} | {100 * error:+.1f} % |")
        assert abs(error) < 0.15, name


def billion(model, lanes, sharded):
    """[(nodes, seconds, tokens/s, efficiency)]"""
    hidden, layers, ffn, vocabulary, heads, segment, tokens = (
        model[k] for k in ("hidden", "layers", "ffn", "vocabulary", "heads", "segment", "tokens"))
    matrices = layers * (4 * hidden**2 + 3 * hidden * ffn)
    parameters = matrices + 2 * vocabulary * hidden
    flops = 6 * (matrices + vocabulary * hidden) + 3 * layers * 4 * hidden * (segment / 2)
    flops += 3 * layers * heads * 4 * (hidden / heads) ** 2
    compute = lanes * tokens * flops / (model["cores"] * model["flops_per_core"] * model["all_cores"])
    embedding = vocabulary * hidden / parameters
    network = {"bandwidth": model["bandwidth"], "copy": 0.0, "together": 1.0, "message": model["message"], "spread": model["spread"]}
    result = []
    for nodes in (1, 16, 64, 256, 1024):
        messages = 2 * 2 * (nodes - 1) * (7 * layers + 2)
        # The embedding hides only as far as the first layer's weight gradients take as long.
        weights = BACKWARD / 2 * compute * 6 * (4 * hidden**2 + 3 * hidden * ffn) / flops
        tail = 4 * hidden**2 / parameters
        left = max(0.0, embedding * alone(nodes, 4 * parameters, network) - weights) if nodes > 1 else 0.0
        step = predict(nodes, compute, 4 * parameters, network, tail, messages=messages, first=embedding, sharded=sharded) + left
        result.append((nodes, step, nodes * lanes * tokens / step, compute / step))
    return parameters, result


def main():
    data = json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
    check(data, calibrate(data))
    curves = {}
    for lanes, sharded in ((16, False), (1, False), (1, True)):
        name = f"{lanes} lane{'s' if lanes > 1 else ''} a node{', sharded' if sharded else ''}"
        parameters, curves[name] = billion(data["billion"], lanes, sharded)
        print(f"\n{parameters / 1e9:.2f} billion parameters, {name}:\n\n| nodes | step, s | tokens/s | efficiency |\n|---|---|---|---|")
        for nodes, step, rate, efficiency in curves[name]:
            print(f"| {nodes} | {step:.2f} | {rate:,.0f} | {100 * efficiency:.1f} % |")

    figure, axes = figures.pyplot().subplots(figsize=(6, 3.4))
    for name, points in curves.items():
        axes.plot([p[0] for p in points], [100 * p[3] for p in points], marker="o", label=name)
    axes.set(xscale="log", xlabel="nodes of 64 cores, 100 Gb/s", ylabel="efficiency, %", ylim=(70, 101),
             xticks=[1, 16, 64, 256, 1024], xticklabels=["1", "16", "64", "256", "1,024"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figures.save(figure, "scaling.svg")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The cost model of docs/parallelism.md: what it says of the measured points, and of a model of a billion parameters on
clusters that nobody has measured. Prints tables in Markdown and draws scaling.svg beside itself.

  docs/plots/scaling.py        needs python3-matplotlib for the picture
"""
import json
import math
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def predict(ranks, compute, parameters, tail, bandwidth, copy, message=0.0, messages=0, backward=0.67, spread=0.0,
            sharded=False):
    """Seconds of a step and of communication by itself.

    compute     seconds of a rank's computation, with its neighbours on the host at work
    parameters  bytes of gradients as they travel
    tail        share of them that is final only when backward ends: embedding and the first layer's attention
    bandwidth   bytes/s that a rank sends and receives at once
    copy        seconds of a computing core that a byte sent and received costs, where no core is idle
    message     seconds of a message, of which each large gradient needs `messages` in all
    backward    share of the computation during which gradients can travel
    spread      standard deviation of a rank's computation, relative: the slowest of all sets the pace
    """
    if ranks == 1:
        return compute, 0.0
    sent = 2 * (ranks - 1) / ranks * parameters
    alone = sent / bandwidth + message * messages
    exposed = max(tail * alone, alone - backward * compute)
    if sharded:  # the second half, of parameters, comes after the update
        exposed = max(tail * alone / 2, alone / 2 - backward * compute) + alone / 2
    slowest = compute * (1 + spread * math.sqrt(2 * math.log(ranks)))
    return slowest + copy * sent + exposed, alone


def check(points):
    print("| measured | tokens/s a rank | predicted | error |\n|---|---|---|---|")
    for p in points:
        step, _ = predict(p["ranks"], p["compute_seconds"], p["gradient_bytes"], p["tail"], p["bandwidth"], p["copy"])
        predicted = p["tokens"] / step
        error = predicted / p["tokens_per_second"] - 1
        print(f"| {p['name']} | {p['tokens_per_second']:.1f} | {predicted:.1f} | {100 * error:+.1f} % |")
        assert abs(error) < 0.15, p["name"]


def billion(model, lanes, sharded):
    """[(nodes, seconds, tokens/s, efficiency)]"""
    hidden, layers, ffn, vocabulary, heads, segment, tokens = (
        model[k] for k in ("hidden", "layers", "ffn", "vocabulary", "heads", "segment", "tokens"))
    matrices = layers * (4 * hidden**2 + 3 * hidden * ffn)
    parameters = matrices + 2 * vocabulary * hidden
    flops = 6 * (matrices + vocabulary * hidden) + 3 * layers * 4 * hidden * (segment / 2)
    flops += 3 * layers * heads * 4 * (hidden / heads) ** 2
    compute = lanes * tokens * flops / (model["cores"] * model["flops_per_core"] * model["all_cores"])
    tail = (vocabulary * hidden + 4 * hidden**2) / parameters
    result = []
    for nodes in (1, 16, 64, 256, 1024):
        messages = 2 * 2 * (nodes - 1) * (7 * layers + 2)
        step, _ = predict(nodes, compute, 4 * parameters, tail, model["bandwidth"], 0.0, model["message"], messages,
                          spread=model["spread"], sharded=sharded)
        result.append((nodes, step, nodes * lanes * tokens / step, compute / step))
    return parameters, result


def main():
    data = json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
    check(data["points"])
    curves = {}
    for lanes, sharded in ((16, False), (1, False), (1, True)):
        name = f"{lanes} lane{'s' if lanes > 1 else ''} a node{', sharded' if sharded else ''}"
        parameters, curves[name] = billion(data["billion"], lanes, sharded)
        print(f"\n{parameters / 1e9:.2f} billion parameters, {name}:\n\n| nodes | step, s | tokens/s | efficiency |\n|---|---|---|---|")
        for nodes, step, rate, efficiency in curves[name]:
            print(f"| {nodes} | {step:.2f} | {rate:,.0f} | {100 * efficiency:.1f} % |")

    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palimpsest"  # the same file every time
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(6, 3.4))
    for name, points in curves.items():
        axes.plot([p[0] for p in points], [100 * p[3] for p in points], marker="o", label=name)
    axes.set(xscale="log", xlabel="nodes of 64 cores, 100 Gb/s", ylabel="efficiency, %", ylim=(0, 105),
             xticks=[1, 16, 64, 256, 1024], xticklabels=["1", "16", "64", "256", "1,024"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(HERE / "scaling.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares the losses of two training runs that differ in train.precision only: prints how far they are apart, as means
over 20 steps, and draws precision.svg beside itself.

  docs/plots/precision.py FLOAT32_RUN BFLOAT16_RUN        run directories; needs python3-matplotlib for the picture
"""
import argparse
import json
import pathlib

import figures

WINDOW = 20


def losses(run):
    """Loss by step; log_every must have been 1."""
    with open(run / "metrics.jsonl", encoding="utf-8") as lines:
        steps = [step for step in map(json.loads, lines) if step["kind"] == "step"]
    if [step["step"] for step in steps] != list(range(1, len(steps) + 1)):
        raise SystemExit(f"{run}: expected metrics of every step (train.log_every 1)")
    return [step["loss"] for step in steps]


def means(values):
    return [sum(values[i:i + WINDOW]) / WINDOW for i in range(len(values) - WINDOW + 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("float32", type=pathlib.Path)
    parser.add_argument("bfloat16", type=pathlib.Path)
    arguments = parser.parse_args()
    exact, mixed = losses(arguments.float32), losses(arguments.bfloat16)
    if len(exact) != len(mixed) or len(exact) < WINDOW:
        raise SystemExit(f"{len(exact)} and {len(mixed)} steps: expected as many of both, at least {WINDOW}")
    smooth = means(exact), means(mixed)
    apart = [100 * (b - a) / a for a, b in zip(*smooth)]
    largest = max(range(len(apart)), key=lambda i: abs(apart[i]))
    print(f"{len(exact)} steps; means over {WINDOW} steps: largest difference {apart[largest]:+.2f} % (steps {largest + 1} "
          f"to {largest + WINDOW}), last {apart[-1]:+.2f} % ({smooth[0][-1]:.4f} and {smooth[1][-1]:.4f})")

    figure, (above, below) = figures.pyplot().subplots(2, 1, figsize=(6, 4.2), sharex=True, height_ratios=(2, 1))
    steps = range(WINDOW, len(exact) + 1)
    above.plot(steps, smooth[0], label="float32")
    above.plot(steps, smooth[1], label="bfloat16", linestyle="--")
    above.set(ylabel=f"loss, mean of {WINDOW} steps")
    above.legend()
    below.plot(steps, apart, color="black", linewidth=1)
    below.set(xlabel="step", ylabel="difference, %", ylim=(-1.1, 1.1))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figures.save(figure, "precision.svg")


if __name__ == "__main__":
    main()

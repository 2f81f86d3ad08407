#!/usr/bin/env python3
"""The tables and figures of the experiment on books (docs/books.md) from run directories of launch/experiments/books.sh,
of which the first is what the others are compared with. Prints tables in Markdown; with --figures draws books-position.svg
and books-gates.svg beside itself.

  docs/plots/books.py runs/books/local-1 runs/books/linear-1 [--figures]     pictures need python3-matplotlib

Environment: PALIMPSEST (build/release/palimpsest), the program that compares.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile

import figures

PALIMPSEST = os.environ.get("PALIMPSEST", "build/release/palimpsest")


def compare(results):
    """What `palimpsest compare` says of results of `eval`: a dictionary for each."""
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / "table.json"
        done = subprocess.run([PALIMPSEST, "compare", *results, "--json", table], stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)  # it has said why
        return json.loads(table.read_text(encoding="utf-8"))["runs"]


def name_of(run):
    return re.sub(r"-\d+$", "", run.name)


def numbers_kept(run):
    """Of a sequence, for what comes next, as the first lines of its training say."""
    found = re.findall(r"attention .*keeps (?:(\d+) numbers|nothing)", (run / "train.log").read_text(encoding="utf-8"))
    return f"{int(found[-1] or 0):,}" if found else ""


def loss(part):
    return part["negative_log_likelihood"] / part["tokens"]


def signed(difference):
    return f'{difference["nats_per_token"]:+.4f} ± {difference["standard_error"]["nats_per_token"]:.4f}'


def print_systems(runs, compared):
    print("| row | numbers kept | word perplexity | nats a token | against the first | better in | memory knocked out |")
    print("|---|---|---|---|---|---|---|")
    for run, kept in zip(runs, compared):
        total, apart = kept["total"], kept.get("difference")
        cells = [name_of(run), numbers_kept(run),
                 f'{total["word_perplexity"]:.0f} ± {total["standard_error"]["word_perplexity"]:.0f}', f"{loss(total):.4f}",
                 signed(apart) if apart else "", f'{apart["better"]} of {apart["better"] + apart["worse"]}' if apart else ""]
        without = run / "evaluation" / "test-memory-none.json"
        cells.append(signed(compare([result_of(run), without])[1]["difference"]) if without.exists() else "")
        print("|", " | ".join(cells), "|")


def print_positions(runs, compared, first):
    ends = [part["end"] for part in first]
    print("\n| row |", " | ".join(f"to {end:,}" for end in ends), "|")
    print("|---" * (len(ends) + 1) + "|")
    print(f"| {name_of(runs[0])} |", " | ".join(f"{loss(part):.3f}" for part in first), "|")
    for run, kept in zip(runs[1:], compared[1:]):
        cells = (f'{part["nats_per_token"]:+.3f}' for part in kept["difference"]["by_position"])
        print(f"| {name_of(run)} |", " | ".join(cells), "|")


def gates(run):
    """(step, gates by layer and head) over the training; none of a run without them."""
    file = run / "gates.jsonl"
    if not file.exists():
        return []
    with open(file, encoding="utf-8") as lines:
        return [(line["step"], line["gates"]) for line in map(json.loads, lines)]


def draw_figures(runs, compared):
    pyplot = figures.pyplot()
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.axhline(0, color="black", linewidth=1, label=name_of(runs[0]))
    for number, (run, kept) in enumerate(zip(runs[1:], compared[1:])):
        parts = kept["difference"]["by_position"]
        axes.plot([part["end"] for part in parts], [part["nats_per_token"] for part in parts], label=name_of(run),
                  marker="o", markersize=3, linestyle=("-", "--")[number % 2])
    axes.set_xscale("log", base=2)
    axes.set(xlabel="position in the book, tokens", ylabel=f"nats a token above {name_of(runs[0])}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figures.save(figure, "books-position.svg")

    gated = [(run, lines) for run, lines in ((run, gates(run)) for run in runs) if lines]
    if not gated:
        return
    figure, grid = pyplot.subplots(1, len(gated), figsize=(3 * len(gated), 3), sharey=True, squeeze=False)
    for axes, (run, lines) in zip(grid[0], gated):
        layers = len(lines[0][1])
        colours = pyplot.get_cmap("viridis", layers)
        for layer in range(layers):
            for head in range(len(lines[0][1][layer])):
                axes.plot([step for step, _ in lines], [of_all[layer][head] for _, of_all in lines],
                          color=colours(layer), linewidth=1, label=f"layer {layer}" if head == 0 else None)
        axes.set(title=name_of(run), xlabel="step")
        axes.grid(alpha=0.3)
    grid[0][0].set(ylabel="gate of each head")
    grid[0][0].legend(fontsize=8)
    figures.save(figure, "books-gates.svg")


def result_of(run):
    return run / "evaluation" / "test.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--figures", action="store_true")
    arguments = parser.parse_args()
    runs = arguments.runs
    if len(runs) < 2:
        parser.error("expected two runs or more")
    compared = compare([result_of(run) for run in runs])
    print_systems(runs, compared)
    print_positions(runs, compared, json.loads(result_of(runs[0]).read_text(encoding="utf-8"))["by_position"])
    if arguments.figures:
        draw_figures(runs, compared)


if __name__ == "__main__":
    main()

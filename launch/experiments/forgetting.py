#!/usr/bin/env python3
"""A table in Markdown of what runs with `evaluation.sets` have learned and forgotten (docs/continued-training.md): the
token perplexity of each set before the first step and after the last one, of one metrics.jsonl or several."""

import argparse
import json
import pathlib
import sys


def lines_of(file):
    """A last line without an end is half written, as a run that goes on or was killed leaves it, and is left out."""
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            sys.exit(f"{file}:{number}: no JSON: {error}")


def evaluations(file):
    """The evaluations of each set, in order: one before the first step, and others."""
    sets = {}
    for line in lines_of(file):
        if line["kind"] == "evaluation":
            sets.setdefault(line["split"], []).append(line)
    if not sets or any(lines[0]["step"] > 0 for lines in sets.values()):
        sys.exit(f"{file}: has no evaluation before the first step")
    if any(lines[-1]["step"] == 0 for lines in sets.values()):
        sys.exit(f"{file}: has no evaluation after the first step; the run is not complete")
    return sets


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", nargs="+", type=pathlib.Path, metavar="METRICS", help="metrics.jsonl of a run")
    files = parser.parse_args().metrics
    names = list(evaluations(files[0]))
    rows = [["run", *(f"{name} {what}" for name in names for what in ("before", "after", "change"))]]
    rows.append(["---"] * len(rows[0]))
    for file in files:
        sets = evaluations(file)
        if list(sets) != names:
            sys.exit(f"{file}: evaluates {', '.join(sets)} and not, as {files[0]}, {', '.join(names)}")
        row = [file.resolve().parent.name]
        for lines in sets.values():
            before, after = lines[0]["token_perplexity"], lines[-1]["token_perplexity"]
            row += [f"{before:.2f}", f"{after:.2f}", f"{100 * (after / before - 1):+.2f} %"]
        rows.append(row)
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

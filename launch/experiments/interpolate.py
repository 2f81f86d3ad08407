#!/usr/bin/env python3
"""Joins likelihoods and BM25 of what `palimpsest search --first-stage bm25:K --json FOUND` has found, with a weight that
is fitted on other queries than those that are measured.

The queries fall into two halves, every other one in the order of their ids. For each half the weight is taken that has
the highest nDCG@10 on the other half, of 0, 0.05 ... 1; 0 is BM25 alone. OUTPUT gets all queries, each with the weight
fitted without it, as a run for `palimpsest measure`. The weights are printed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

WEIGHTS = [step / 20 for step in range(21)]


def normalized(values):
    """To 0 to 1, as `palimpsest search --interpolate` does."""
    lowest, highest = min(values), max(values)
    return [(value - lowest) / (highest - lowest) if highest > lowest else 0.0 for value in values]


def run_lines(query, weight, depth=None, prefix=""):
    """The first `depth` documents, all without."""
    documents = query["documents"]
    if not documents:
        return []
    likelihoods = normalized([document["log_likelihood"] for document in documents])
    matches = normalized([document.get("bm25", 0.0) for document in documents])
    scores = [weight * likelihood + (1 - weight) * match for likelihood, match in zip(likelihoods, matches)]
    # Of equal scores the later id comes first, as in trec_eval.
    best = sorted(((score, document["id"]) for score, document in zip(scores, documents)), reverse=True)[:depth]
    return [f"{prefix}{query['id']} Q0 {document} {rank} {score!r} interpolated\n" for rank, (score, document) in enumerate(best, 1)]


def measured(palimpsest, queries, judgements):
    """nDCG@10 by weight and query: of one run and one file of judgements, in which each query stands once for each weight."""
    with tempfile.TemporaryDirectory() as folder:
        run, judged, result = (pathlib.Path(folder) / name for name in ("run", "judged", "result.json"))
        run.write_text("".join(line for place, weight in enumerate(WEIGHTS) for query in queries
                               for line in run_lines(query, weight, depth=10, prefix=f"{place}:")), encoding="utf-8")
        lines = [line for line in judgements.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        heading = [] if lines and re.fullmatch(r"[-+]?\d+", lines[0].split()[-1]) else lines[:1]
        judged.write_text("\n".join(heading + [f"{place}:{line}" for place in range(len(WEIGHTS)) for line in lines[len(heading):]]),
                          encoding="utf-8")
        process = subprocess.run([palimpsest, "measure", run, judged, "--json", result], capture_output=True, text=True, check=False)
        if process.returncode != 0:
            sys.exit(f"{judgements}: {process.stderr}")
        return {line["query"]: line["runs"][0]["ndcg@10"] for line in json.loads(result.read_text(encoding="utf-8"))["by_query"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("palimpsest", help="the program")
    parser.add_argument("found", type=pathlib.Path, help="lines of JSON of palimpsest search")
    parser.add_argument("judgements", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    arguments = parser.parse_args()
    with open(arguments.found, encoding="utf-8") as file:
        queries = sorted((json.loads(line) for line in file), key=lambda query: query["id"])
    if not any(query["documents"] for query in queries):
        sys.exit(f"{arguments.found}: no document was found for any query" if queries else f"{arguments.found}: holds no query")
    halves = [queries[0::2], queries[1::2]]
    found = measured(arguments.palimpsest, queries, arguments.judgements)
    gains = [[sum(found.get(f"{place}:{query['id']}", 0.0) for query in half) for half in halves] for place in range(len(WEIGHTS))]
    lines = []
    for half, other in ((0, 1), (1, 0)):
        best = max(range(len(WEIGHTS)), key=lambda place: gains[place][other])
        print(f"{len(halves[half])} queries with a weight of {WEIGHTS[best]} for the likelihood, fitted on the other half")
        lines += [line for query in halves[half] for line in run_lines(query, WEIGHTS[best])]
    temporary = arguments.output.with_name(arguments.output.name + ".tmp")
    temporary.write_text("".join(lines), encoding="utf-8")
    temporary.replace(arguments.output)


if __name__ == "__main__":
    main()

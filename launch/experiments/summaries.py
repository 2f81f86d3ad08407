#!/usr/bin/env python3
"""Data, floors and tables of the experiment with summaries (docs/summaries.md), for launch/experiments/summaries.sh.

  prepare DATA CORPUS FOLDER     writes into FOLDER what is trained on and what is asked
  floors LIKE FIELD ASKED OUT    extracts of the asked documents, as many words each as the texts of LIKE have under FIELD
  ranking QUERIES RESULT QRELS OUT
                                 where each summary has its own book among all, by `palimpsest search --json`
  margins RANKING OTHER...       by how much the own book stands out more by one ranking than by others of the same summaries
  table RESULT...                what `palimpsest rouge --json` found, side by side

DATA holds pairs.jsonl (pg_id, pg19_split, document: a path from DATA on, summary) and all_epitomes.jsonl (title, summary).
"""

import argparse
import collections
import json
import math
import pathlib
import random
import re
import statistics

from texts import (WORD, books_of, first_words, normal, read, read_pairs, read_text, run_command, write, write_judgements,
                   write_text)

SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n\s*\n")


def prepare(data, corpus, folder, words):
    """No summary of a book that is asked for is among the texts that are learnt."""
    of_split = {"train": [], "test": []}
    books = {}
    for pair in read_pairs(data / "pairs.jsonl", books_of(corpus), "pg19_split", "title"):
        of_split.setdefault(pair["pg19_split"], []).append(
            {"id": pair["pg_id"], "title": pair["title"], "document": str(pair["document"]), "summary": pair["summary"]})
        books[pair["pg_id"]] = pair["book"]
    for split in ("train", "test"):
        if not of_split[split]:
            raise ValueError(f"{data / 'pairs.jsonl'}: no pair of the split {split}")
    kept_out = {normal(pair[key]) for pair in of_split["test"] for key in ("title", "summary")} - {""}
    register = [{"id": f"epitome-{number}", "text": epitome["summary"]}
                for number, epitome in enumerate(read(data / "all_epitomes.jsonl", "title", "summary"))
                if kept_out.isdisjoint((normal(epitome["title"]), normal(epitome["summary"])))]
    queries, judgements = [], []
    for split in ("test", "train"):
        for pair in of_split[split]:
            queries.append({"_id": pair["id"], "split": split, "text": first_words(pair["summary"], words)})
            judgements.append((pair["id"], books[pair["id"]]))
    write(folder / "register.jsonl", register)
    write(folder / "train.jsonl", of_split["train"])
    write(folder / "asked.jsonl", of_split["test"])
    write_judgements(folder / "qrels.txt", judgements)
    write(folder / "queries.jsonl", queries)  # last: that it is there says that all are


def sentences_of(text):
    return [" ".join(sentence.split()) for sentence in SENTENCE.split(text) if sentence and sentence.strip()]


def in_order(sentences, chosen, words):
    """The first of the chosen ones that have so many words together, in the order of the book; the last one is cut."""
    taken, left = [], words
    for index in chosen:
        if left <= 0:
            break
        part = sentences[index].split()[:left]
        left -= len(part)
        taken.append((index, " ".join(part)))
    return "\n".join(part for _, part in sorted(taken))


def by_centroid(sentences):
    """From the nearest to the centroid of the sentences' TF-IDF vectors on (Radev et al. 2004), without those that nearly
    repeat a nearer one. Each sentence of the book is a document of the inverse document frequencies."""
    counts = [collections.Counter(WORD.findall(sentence.lower())) for sentence in sentences]
    frequency = collections.Counter(word for count in counts for word in count)
    weights = [{word: number * math.log(len(sentences) / frequency[word]) for word, number in count.items()} for count in counts]
    centroid = collections.Counter()
    for weight in weights:
        centroid.update(weight)
    lengths = [math.sqrt(sum(value * value for value in weight.values())) for weight in weights]

    def near(index):
        return sum(value * centroid[word] for word, value in weights[index].items()) / lengths[index] if lengths[index] else 0.0

    chosen = []
    for index in sorted(range(len(sentences)), key=lambda index: (-near(index), index)):
        repeats = any(sum(value * weights[other].get(word, 0.0) for word, value in weights[index].items())
                      > 0.95 * lengths[index] * lengths[other] for other in chosen)
        if not repeats and lengths[index]:
            chosen.append(index)
            yield index


def floors(like, field, asked, out, seed):
    words = {str(record["id"]): max(1, len(record[field].split())) for record in read(like)}
    extracts = {"lead": [], "random": [], "centroid": []}
    for pair in read(asked):
        text, count = read_text(pair["document"]), words[pair["id"]]
        sentences = sentences_of(text)
        drawn = list(range(len(sentences)))
        random.Random(f"{seed} {pair['id']}").shuffle(drawn)
        for name, extract in (("lead", in_order(sentences, range(len(sentences)), count)), ("random", in_order(sentences, drawn, count)),
                              ("centroid", in_order(sentences, by_centroid(sentences), count))):
            extracts[name].append({"id": pair["id"], "text": extract})
    for name, records in extracts.items():
        write(out / f"{name}.jsonl", records)


def ranking(queries, result, qrels, out):
    """Of each query the rank of its own book, and by how much its likelihood exceeds the mean of the others'."""
    own = {}
    for line in pathlib.Path(qrels).read_text(encoding="utf-8").splitlines():
        query, _, document, _ = line.split()
        own[query] = document
    splits = {query["_id"]: query["split"] for query in read(queries)}
    rows = []
    for line in read(result):
        scores = {document["id"]: document["log_likelihood"] for document in line["documents"]}
        mine = scores.pop(own[line["id"]], None)
        if mine is None or not scores:
            raise ValueError(f"{result}: query {line['id']} was not asked of {own[line['id']]} and of other books")
        others = list(scores.values())
        rows.append({"id": line["id"], "split": splits[line["id"]], "books": len(others) + 1,
                     "rank": 1 + sum(score > mine for score in others) + sum(score == mine for score in others) / 2,
                     "difference": mine - sum(others) / len(others)})
    means = {}
    for split in ("test", "train"):
        chosen = [row for row in rows if row["split"] == split]
        means[split] = {"queries": len(chosen), "first": sum(row["rank"] == 1 for row in chosen),
                        "rank": sum(row["rank"] for row in chosen) / len(chosen),
                        "difference": sum(row["difference"] for row in chosen) / len(chosen)}
    write_text(out, json.dumps({"queries": rows, "means": means}, indent=2) + "\n")
    print(f"{'summary of':<12}{'split':<7}{'rank':>6}{'of':>5}  nats a token above the mean of the other books")
    for row in rows:
        print(f"{row['id']:<12}{row['split']:<7}{row['rank']:>6g}{row['books']:>5}  {row['difference']:+.4f}")
    for split, mean in means.items():
        print(f"{'mean':<12}{split:<7}{mean['rank']:>6.1f}{'':>5}  {mean['difference']:+.4f}; first {mean['first']} of {mean['queries']} times")


def margins(rankings):
    differences = [{row["id"]: row["difference"] for row in json.loads(path.read_text(encoding="utf-8"))["queries"]} for path in rankings]
    for path, other in zip(rankings[1:], differences[1:]):
        more = [difference - other[query] for query, difference in differences[0].items()]
        error = statistics.stdev(more) / math.sqrt(len(more)) if len(more) > 1 else math.nan
        print(f"above the mean of the other books by {statistics.fmean(more):+.4f} ± {error:.4f} nats a token more than in {path.stem}; more for "
              f"{sum(each > 0 for each in more)} of {len(more)}")


def table(results):
    measures = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
    print(f"{'F1, with its interval':<28}" + "".join(f"{title:<27}" for title in measures.values()))
    for path in results:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        cells = (found[measure]["f1"] for measure in measures)
        print(f"{pathlib.Path(path).stem.removeprefix('rouge-'):<28}" + "".join(f"{cell['mean']:.4f} ({cell['low']:.4f} to {cell['high']:.4f})".ljust(27) for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    path = pathlib.Path
    command = commands.add_parser("prepare")
    for name in ("data", "corpus", "folder"):
        command.add_argument(name, type=path)
    command.add_argument("--words", type=int, default=0)
    command.set_defaults(run=lambda o: prepare(o.data, o.corpus, o.folder, o.words))
    command = commands.add_parser("floors")
    command.add_argument("like", type=path)
    command.add_argument("field")
    for name in ("asked", "out"):
        command.add_argument(name, type=path)
    command.add_argument("--seed", default="1")
    command.set_defaults(run=lambda o: floors(o.like, o.field, o.asked, o.out, o.seed))
    command = commands.add_parser("ranking")
    for name in ("queries", "result", "qrels", "out"):
        command.add_argument(name, type=path)
    command.set_defaults(run=lambda o: ranking(o.queries, o.result, o.qrels, o.out))
    command = commands.add_parser("margins")
    command.add_argument("rankings", type=path, nargs="+")
    command.set_defaults(run=lambda o: margins(o.rankings))
    command = commands.add_parser("table")
    command.add_argument("results", type=path, nargs="+")
    command.set_defaults(run=lambda o: table(o.results))
    run_command(parser)


if __name__ == "__main__":
    main()

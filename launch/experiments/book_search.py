#!/usr/bin/env python3
"""Data and tables of the experiment that finds books (docs/search.md), for launch/experiments/book_search.sh.

  prepare PAIRS CORPUS FOLDER    writes into FOLDER what is read, trained on and asked:
                                   books/            the books, without the sentences that are asked for
                                   passages.jsonl    those of the split train, in parts
                                   sentences.jsonl   queries: the sentences that were taken out
                                   paragraphs.jsonl  queries: the paragraphs of the books' epitomes
                                 and of both the judgements, NAME.tsv, and NAME-unmet.tsv of books out of the split train
  table BOOKS FIRST RESULT...    what `palimpsest measure --json` found, as a table; of the books BM25 handed so many to the memory

PAIRS is a file of records (pg_id, document: a path from the file's folder on, summary).
"""

import argparse
import collections
import json
import math
import pathlib
import random
import re
import shutil

from texts import books_of, first_words, normal, read_pairs, read_text, run_command, write, write_judgements, write_text

# Between two ends of sentences that no abbreviation makes, for all that letters tell.
SENTENCE = re.compile(r"(?<=[a-z]{3}[.!?]\s)[A-Z][^.!?]*[a-z]{3}[.!?](?=\s)")
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
LEAST_WORDS, MOST_WORDS = 8, 40  # of a sentence
LEAST_PARAGRAPH = 10             # words: what has fewer is a heading


def candidates(text):
    """Begin, end and wording of the sentences that may be asked for, in their order."""
    for found in SENTENCE.finditer(text):
        sentence = found.group()
        if LEAST_WORDS <= len(sentence.split()) <= MOST_WORDS and not BLANK_LINE.search(sentence):
            yield found.start(), found.end(), normal(sentence)


def shares(there, count):
    """Of each name how many of `count` it gives, which has so many: as many as the others, if it can."""
    left, given = count, {}
    for place, name in enumerate(sorted(there, key=lambda name: (there[name], name))):
        given[name] = min(there[name], left // (len(there) - place))
        left -= given[name]
    return given


def drawn(sentences, count, generator):
    """One of each of `count` stretches of equally many sentences."""
    bounds = [place * len(sentences) // count for place in range(count + 1)] if count else []
    return [sentences[generator.randrange(begin, end)] for begin, end in zip(bounds, bounds[1:])]


def without(text, sentences):
    """The text without them and the white space behind each."""
    kept, end = [], 0
    for begin, after, _ in sentences:
        kept.append(text[end:begin])
        end = after + 1
    return "".join(kept) + text[end:]


def parts_of(text, size):
    """Whole paragraphs together, from `size` characters on; the last part may be shorter."""
    begin = 0
    for blank in BLANK_LINE.finditer(text):
        if blank.start() - begin >= size:
            yield text[begin:blank.start()]
            begin = blank.end()
    if text[begin:].strip():
        yield text[begin:]


def prepare(pairs, corpus, folder, options):
    named = books_of(corpus)
    books = {name: path for path, name in named.items()}
    if not any(is_met(name) for name in books):
        raise ValueError(f"{corpus}: no book in train/; expected *.txt files in PG19's layout")
    sentences, times = {}, collections.Counter()
    for name, path in books.items():
        text = read_text(path)
        if not text.strip():
            raise ValueError(f"{path}: is empty, expected a book")
        sentences[name] = list(candidates(text))
        times.update(wording for _, _, wording in sentences[name])
    for name, found in sentences.items():  # what stands nowhere else
        sentences[name] = [sentence for sentence in found if times[sentence[2]] == 1]
    given = shares({name: len(found) for name, found in sentences.items()}, options.sentences)
    asked, passages = [], []
    shutil.rmtree(folder / "books", ignore_errors=True)
    for name, path in books.items():
        text = read_text(path)
        chosen = drawn(sentences[name], given[name], random.Random(f"{options.seed} {name}"))
        asked += [(f"{name}-{number}", name, text[begin:end]) for number, (begin, end, _) in enumerate(chosen, 1)]
        left = without(text, chosen)
        write_text(folder / "books" / f"{name}.txt", left)
        if is_met(name):
            passages += [{"_id": f"{name}-{number}", "text": part} for number, part in enumerate(parts_of(left, options.passage), 1)]
    write_queries(folder, "sentences", asked, corpus)
    paragraphs = []
    for pair in read_pairs(pairs, named):
        for number, paragraph in enumerate(BLANK_LINE.split(pair["summary"]), 1):
            if len(paragraph.split()) >= LEAST_PARAGRAPH:
                paragraphs.append((f"{pair['pg_id']}-{number}", pair["book"], first_words(paragraph.strip(), options.words)))
    write_queries(folder, "paragraphs", paragraphs, pairs)
    write(folder / "passages.jsonl", passages)  # last: that it is there says that all are
    print(f"{len(books)} books, {len(asked)} sentences out of {len({name for _, name, _ in asked})} of them, {len(paragraphs)} "
          f"paragraphs about {len({name for _, name, _ in paragraphs})}, {len(passages)} passages to train on")


def is_met(name):
    """Whether the model is trained on this book."""
    return name.startswith("train/")


def write_queries(folder, kind, queries, source):
    if not queries:
        raise ValueError(f"{source}: no {kind} to ask for")
    write(folder / f"{kind}.jsonl", [{"_id": query, "text": text} for query, _, text in queries])
    judgements = [(query, name) for query, name, _ in queries]
    write_judgements(folder / f"{kind}.tsv", judgements)
    write_judgements(folder / f"{kind}-unmet.tsv", [(query, name) for query, name in judgements if not is_met(name)])


def table(books, handed, results):
    """Each search once, what chance would find, and then the differences."""
    orders = {"bm25": "BM25", "first": "memory of the first segment", "memory": "memory of the whole book", "both": "BM25 and memory"}
    count = sum(1 for _ in books.rglob("*.txt"))
    if handed < count:  # chance and the first segment's memory have all books to choose from
        orders["memory"] += f", of BM25's first {handed}"
    gains = sum(1 / math.log2(rank + 1) for rank in range(1, min(count, 10) + 1))
    ranks = sum(1 / rank for rank in range(1, count + 1))
    rows, differences = {}, []
    for path in results:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = pathlib.Path(found["runs"][0]["run"]).stem.split("-")[0]
        kind += " of unmet books" if path.stem.endswith("-unmet") else ""
        names = []
        rows.setdefault((kind, "chance (expected)"),
                        f"{found['queries']} | {1 / count:.3f} | {gains / count:.4f} | | {ranks / count:.4f}")
        for place, run in enumerate(found["runs"]):
            names.append(orders[pathlib.Path(run["run"]).stem.split("-")[1]])
            first_place = sum(query["runs"][place]["mrr"] == 1 for query in found["by_query"])
            rows[kind, names[-1]] = (f"{found['queries']} | {first_place / found['queries']:.3f} | {cell(run['ndcg@10'], '.4f')} | "
                                     f"{run['mrr']['mean']:.4f}")
        less = found["difference"]["ndcg@10"]
        differences.append(f"| {kind} | {names[1]} less {names[0]} | {cell(less, '+.4f')} | {less['p']:.3f} | {less['better']} | {less['worse']} |")
    print("| queries | order | number | found first | nDCG@10 | interval | MRR |\n|---|---|---|---|---|---|---|")
    for (kind, name), row in sorted(rows.items(), key=lambda item: item[0][0]):
        print(f"| {kind} | {name} | {row} |")
    print("\n| queries | | nDCG@10 | interval | p | better | worse |\n|---|---|---|---|---|---|---|")
    print("\n".join(differences))


def cell(estimate, form):
    return f"{estimate['mean']:{form}} | {estimate['low']:{form}} to {estimate['high']:{form}}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    path = pathlib.Path
    command = commands.add_parser("prepare")
    for name in ("pairs", "corpus", "folder"):
        command.add_argument(name, type=path)
    command.add_argument("--sentences", type=int, default=1000, help="as many are taken out of the books")
    command.add_argument("--words", type=int, default=0, help="of a paragraph so many are asked; 0: all")
    command.add_argument("--passage", type=int, default=6000, help="characters that a part of a book has at least")
    command.add_argument("--seed", default="1")
    command.set_defaults(run=lambda o: prepare(o.pairs, o.corpus, o.folder, o))
    command = commands.add_parser("table")
    command.add_argument("books", type=path)
    command.add_argument("handed", type=int)
    command.add_argument("results", type=path, nargs="+")
    command.set_defaults(run=lambda o: table(o.books, o.handed, o.results))
    run_command(parser)


if __name__ == "__main__":
    main()

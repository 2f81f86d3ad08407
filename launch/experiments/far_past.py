#!/usr/bin/env python3
"""Texts whose last part needs their far past, as records for `palimpsest pack` (docs/books.md).

Of every book of a folder of *.txt files, the far past is asked for in three ways. What only leads up to it is the
masked part of a record: it is read, and no loss counts it.

  repeated.jsonl   the first half, masked, and then the same half again
  recalled-N.jsonl the whole book, masked, and then a passage of 600 letters that stood N letters before its end
                   (`recalled-start`: at its beginning)
  names.jsonl      the book, masked but for names that have not been met for 100,000 letters
"""

import argparse
import json
import pathlib
import re
import sys

DISTANCES = (1_000, 4_000, 16_000, 64_000, 256_000)
PASSAGE = 600
UNMET = 100_000
NAME = re.compile(r"\b[A-Z][a-z]{3,}\b")
WITHIN_SENTENCE = re.compile(r"[a-z,;] \Z")  # where only names have capitals


def sentence_at(text, position):
    """Where the first sentence at or behind a position begins; the position itself if none does within a passage."""
    found = re.compile(r"(?<=[.!?] )[A-Z]").search(text, position, position + PASSAGE)
    return found.start() if found else position


def repeated(text):
    half = text[:len(text) // 2]
    return {"prompt": half + "\n\n", "completion": half}


def recalled(text, distance):
    """None for a book that is no longer than that."""
    if len(text) <= distance:
        return None
    begin = sentence_at(text, len(text) - distance if distance else 0)
    return {"prompt": text + "\n\n", "completion": text[begin:begin + PASSAGE]}


def names(text):
    """None where every name is met again soon."""
    lower = set(re.findall(r"\b[a-z]{4,}\b", text))
    met, turns, end = {}, [], 0
    for found in NAME.finditer(text):
        name = found.group()
        if name.lower() in lower:
            continue
        begin = found.start()
        if begin - met.get(name, begin) >= UNMET and WITHIN_SENTENCE.search(text, max(0, begin - 2), begin):
            turns += [{"role": "text", "content": text[end:begin]}, {"role": "assistant", "content": name}]
            end = found.end()
        met[name] = begin
    return {"messages": turns + [{"role": "text", "content": text[end:]}]} if turns else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", type=pathlib.Path, help="folder of *.txt files, such as PG19's test/")
    parser.add_argument("output", type=pathlib.Path, help="folder for the records; made if it is not there")
    arguments = parser.parse_args()
    books = sorted(arguments.books.glob("*.txt"))
    if not books:
        sys.exit(f"far_past.py: {arguments.books}: no *.txt file; expected one a book, as in PG19")
    tasks = {"repeated": repeated, "names": names, "recalled-start": lambda text: recalled(text, 0)}
    tasks |= {f"recalled-{distance}": lambda text, distance=distance: recalled(text, distance) for distance in DISTANCES}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for task, record_of in tasks.items():
        path, count = arguments.output / f"{task}.jsonl", 0
        unfinished = path.with_suffix(".tmp")
        with open(unfinished, "w", encoding="utf-8") as file:
            for book in books:
                record = record_of(book.read_text(encoding="utf-8"))
                if record:
                    file.write(json.dumps({"id": book.stem} | record, ensure_ascii=False) + "\n")
                    count += 1
        if count > 0:
            unfinished.rename(path)
        else:
            unfinished.unlink()
        print(f"{path}: {count} of {len(books)} books" + ("" if count > 0 else ", not written"))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Bits per byte of two count models, the marks that a trained language model has to beat.

Both are fitted on the bytes of a corpus's training split and measured on every byte of its test split:

  unigram  p(b)     = (n(b) + 1) / (N + 256)
  bigram   p(b | a) = (n(a, b) + p(b)) / (n(a) + 1)

that is, add-one smoothing: one count a byte value for the unigram, and for the bigram one count a
context, spread as the unigram has it. A document's first byte has no context and takes the unigram.
Bits per byte compare models whatever their tokens are, as long as they spell every byte of the text.
"""

import argparse
import collections
import json
import math
import pathlib
import sys


def read_documents(folder):
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        sys.exit(f"byte_baselines.py: {folder}: no *.txt file; expected one a book, as in PG19")
    return [path.read_bytes() for path in paths]


def bits_per_byte(train, test):
    singles, contexts, pairs = collections.Counter(), collections.Counter(), collections.Counter()
    for text in train:
        singles.update(text)
        contexts.update(text[:-1])
        pairs.update(zip(text, text[1:]))
    total = singles.total()
    unigram = [(singles[byte] + 1) / (total + 256) for byte in range(256)]

    size = sum(map(len, test))
    unigram_bits = bigram_bits = 0.0
    for text in test:
        for byte, count in collections.Counter(text).items():
            unigram_bits -= count * math.log2(unigram[byte])
        if text:
            bigram_bits -= math.log2(unigram[text[0]])
        for (before, byte), count in collections.Counter(zip(text, text[1:])).items():
            probability = (pairs[before, byte] + unigram[byte]) / (contexts[before] + 1)
            bigram_bits -= count * math.log2(probability)
    return {"unigram bytes": unigram_bits / size, "bigram bytes": bigram_bits / size}


def model_result(path):
    """How the memory was kept, and the total, of a result that `palimpsest eval` wrote."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return result["memory"], float(result["total"]["bits_per_byte"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"byte_baselines.py: {path}: not a result of palimpsest eval: {error!r}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: launch/scripts/byte_baselines.py runs/austen/text --model runs/quickstart/evaluation/quickstart.json")
    parser.add_argument("corpus", type=pathlib.Path, help="folder with train/ and test/, one *.txt a book")
    parser.add_argument("--model", type=pathlib.Path, metavar="JSON", action="append", default=[],
                        help="result of palimpsest eval to set beside them; several of one model say what its memory is worth")
    arguments = parser.parse_args()
    test = read_documents(arguments.corpus / "test")
    rows = bits_per_byte(read_documents(arguments.corpus / "train"), test)
    memory = dict(map(model_result, arguments.model))
    rows.update({f"Palimpsest, memory {kept}": bits for kept, bits in memory.items()})
    print(f"{'test split':<29}bits per byte")
    for name, bits in rows.items():
        print(f"  {name:<27}{bits:>13.4f}")
    if {"kept", "none"} <= memory.keys():
        print(f"  {'the memory contributes':<27}{memory['none'] - memory['kept']:>13.4f}")


if __name__ == "__main__":
    main()

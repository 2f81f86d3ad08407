#!/usr/bin/python3
"""What counts of n-grams say that far text is worth (docs/books.md): an n-gram model of the training split, joined with
counts of the book itself, of its last tokens and of all before those. Prints nats a token with and without the far
counts, of single tokens, pairs and triples.

  launch/experiments/ngrams.py runs/books/pieces/train.h5 runs/books/pieces/test.h5      needs python3-h5py, python3-numpy

Each token's probability is a mixture of the models that have counts for it. Its weights, one set for every range of
how often what stands before the token has been met, are those that fit the measured tokens best (expectation
maximisation), with and without far counts alike.
"""
import argparse
import pathlib
import sys

import h5py
import numpy

ORDERS = (1, 2, 3)
SINGLE, PAIR, TRIPLE = ORDERS
ROUNDS = 15  # of expectation maximisation


def books_of(path):
    """-> the tokens of each book"""
    try:
        with h5py.File(path, "r") as file:
            tokens, offsets = file["tokens"][:].astype(numpy.int64), file["documents/offsets"][:]
    except (OSError, KeyError) as error:
        sys.exit(f"{path}: no token file of `palimpsest pack`: {error}")
    return [tokens[begin:end] for begin, end in zip(offsets[:-1], offsets[1:])]


def grams(tokens, order, size):
    """For each token a number for it and the order - 1 tokens before, and one for these alone; -1 where there are fewer."""
    context = numpy.zeros(len(tokens), numpy.int64)
    for back in range(order - 1, 0, -1):
        context = context * size + numpy.concatenate([numpy.zeros(back, numpy.int64), tokens[:-back]])
    known = numpy.arange(len(tokens)) >= order - 1
    return numpy.where(known, context * size + tokens, -1), numpy.where(known, context, -1)


class Counts:
    """How often each n-gram stands in the training books."""

    def __init__(self, books, order, size):
        pairs = [grams(book, order, size) for book in books]
        self.tables = [numpy.unique(numpy.concatenate([pair[which] for pair in pairs]), return_counts=True)
                       for which in range(2)]

    def of(self, gram, context):
        return tuple(self.look_up(table, keys) for table, keys in zip(self.tables, (gram, context)))

    @staticmethod
    def look_up(table, keys):
        known, counts = table
        at = numpy.minimum(numpy.searchsorted(known, keys), len(known) - 1)
        return numpy.where((known[at] == keys) & (keys >= 0), counts[at], 0)


def counts_before(keys, window):
    """How often the key of each token has stood among the `window` tokens before it, and how often before those."""
    length = len(keys)
    known, (_, keys) = keys >= 0, numpy.unique(keys, return_inverse=True)
    places = numpy.arange(length)
    ordered = numpy.sort(keys * length + places)
    def up_to(place):
        return numpy.searchsorted(ordered, keys * length + place)
    first, split, here = up_to(0), up_to(numpy.maximum(places - window, 0)), up_to(places)
    return numpy.where(known, here - split, 0), numpy.where(known, split - first, 0)


def ranges(counts):
    """0, 1 to 3, 4 to 15, and more"""
    return numpy.digitize(counts, [1, 4, 16])


def measured(book, trained, window, size):
    """-> the probabilities of each model, -1 where it has none, and the set of weights of each token"""
    columns = {"uniform": numpy.full(len(book), 1 / size)}
    weights = numpy.zeros(len(book), numpy.int64)
    def add(name, gram, context):
        columns[name] = numpy.where(context > 0, gram / numpy.maximum(context, 1), -1)
    for order in ORDERS:
        gram, context = grams(book, order, size)
        in_train = trained[order].of(gram, context)
        near, far = counts_before(gram, window)
        near_context, far_context = counts_before(context, window)
        add(f"train {order}", *in_train)
        add(f"near {order}", near, near_context)
        add(f"far {order}", far, far_context)
        if order == TRIPLE:
            weights = weights * 4 + ranges(in_train[1])
        if order > SINGLE:
            weights = (weights * 4 + ranges(near_context)) * 4 + ranges(far_context)
    return columns, weights


def nats(columns, weights):
    """The mean loss of the mixture whose weights fit best."""
    probabilities = numpy.stack(columns, axis=1)
    there = probabilities >= 0
    shares = numpy.ones((weights.max() + 1, probabilities.shape[1]))
    loss = 0.0
    for _ in range(ROUNDS):
        parts = numpy.where(there, shares[weights] * probabilities, 0)
        total = parts.sum(axis=1)
        loss = -numpy.log(total / numpy.where(there, shares[weights], 0).sum(axis=1)).mean()
        shares = numpy.full_like(shares, 1e-3)
        for column in range(probabilities.shape[1]):
            shares[:, column] += numpy.bincount(weights, parts[:, column] / total, len(shares))
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=pathlib.Path, help="the token file that is counted")
    parser.add_argument("test", type=pathlib.Path, help="the token file that is measured")
    parser.add_argument("--window", type=int, default=512, metavar="N", help="tokens that are near (512)")
    parser.add_argument("--skip", type=int, default=2000, metavar="N",
                        help="tokens at the start of each book that are only read (2000)")
    parser.add_argument("--every", type=int, default=3, metavar="N", help="measure every Nth token (3)")
    options = parser.parse_args()
    if options.window < 1 or options.skip < 0 or options.every < 1:
        parser.error("--window and --every must be at least 1, --skip at least 0")
    train, test = books_of(options.train), books_of(options.test)
    size = int(max(book.max() for book in train + test if len(book))) + 1
    if size ** TRIPLE >= 2 ** 63:
        sys.exit(f"{options.train}: a vocabulary of {size}, expected less than 2,097,152")
    trained = {order: Counts(train, order, size) for order in ORDERS}
    parts = [measured(book, trained, options.window, size) for book in test if len(book) > options.skip]
    if not parts:
        sys.exit(f"{options.test}: no book of more than {options.skip} tokens")
    rows = slice(options.skip, None, options.every)
    weights = numpy.concatenate([weights[rows] for _, weights in parts])
    columns = {name: numpy.concatenate([columns[name][rows] for columns, _ in parts]) for name in parts[0][0]}
    base = ["uniform", *(f"train {order}" for order in ORDERS)]
    near = base + [f"near {order}" for order in ORDERS]
    print(f"{len(weights)} tokens of {len(parts)} books, the last {options.window} tokens near\n")
    print("| counts | nats a token | against near |\n|---|---|---|")
    without_far = nats([columns[name] for name in near], weights)
    print(f"| training split | {nats([columns[name] for name in base], weights):.4f} | |")
    print(f"| and near text | {without_far:.4f} | |")
    for what, orders in (("single tokens", [SINGLE]), ("pairs", [PAIR]), ("triples", [TRIPLE]), ("all three", ORDERS)):
        loss = nats([columns[name] for name in near + [f"far {order}" for order in orders]], weights)
        print(f"| and far {what} | {loss:.4f} | {loss - without_far:+.4f} |", flush=True)


if __name__ == "__main__":
    main()

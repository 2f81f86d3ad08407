#!/usr/bin/env python3
"""Beginnings or ends of books, for the experiments that ask what more is remembered of a whole book.

  first|last PALIMPSEST TOKENIZER TOKENS BOOKS OUT    of every book under BOOKS what its first, or last, so many tokens say
"""

import argparse
import pathlib
import shutil
import subprocess

from texts import read_text, run_command, write_text


CUT = "\ufffd"  # what is left of a character of which not all tokens are there


def cut(options):
    def run(command, given):
        process = subprocess.run([options.palimpsest, "tokenizer", command, options.tokenizer], input=given, capture_output=True, check=False)
        if process.returncode != 0:
            raise ValueError(process.stderr.decode(errors="replace").strip())
        return process.stdout

    first = options.part == "first"
    letters = 32 * options.tokens  # no piece of a tokenizer has more than some dozen on average
    shutil.rmtree(options.out, ignore_errors=True)
    unfinished = options.out.with_name(options.out.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    for path in sorted(options.books.rglob("*.txt")):
        text = read_text(path)
        text = text[:letters] if first else text[-letters:]
        numbers, most = run("encode", text.encode()).split(), options.tokens
        while len(numbers) > options.tokens:  # of what is left some may have other tokens than before
            kept = numbers[:most] if first else numbers[len(numbers) - most:]
            text = run("decode", b" ".join(kept)).removesuffix(b"\n").decode()
            text = text.rstrip(CUT) if first else text.lstrip(CUT)
            numbers, most = run("encode", text.encode()).split(), most - 1
        write_text(unfinished / path.relative_to(options.books), text)
    unfinished.rename(options.out)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of tokens, 1 or more")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("first", "last"):
        part = parts.add_parser(name)
        for argument in ("palimpsest", "tokenizer"):
            part.add_argument(argument)
        part.add_argument("tokens", type=positive)
        for argument in ("books", "out"):
            part.add_argument(argument, type=pathlib.Path)
        part.set_defaults(run=cut)
    run_command(parser)


if __name__ == "__main__":
    main()

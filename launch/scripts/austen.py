#!/usr/bin/env python3
"""Writes Jane Austen's six novels as a corpus in PG19 layout.

The novels come from Debian's package r-cran-janeaustenr, an R data package. R itself is not needed:
an R package keeps its data in a lazy-load database, two files that this script reads.

  Rdata.rdx  gzip over one R object, list(variables = list(NAME = c(offset, length), ...), compressed = n)
  Rdata.rdb  at each offset: the unpacked size (4 bytes, big-endian), then the R object, zlib

An R object is written as a header ("X\\n" for big-endian, format version, R versions) and a tree of
items. Each item opens with 32 flag bits: the type in the lowest eight, then "is an object" (0x100),
"has attributes" (0x200) and "has a tag" (0x400). Source: R Internals, "Serialization Formats".

What it writes, books named by their number at Project Gutenberg as PG19 names them:

  OUT/train/{141,158,161,1342}.txt   OUT/validation/105.txt   OUT/test/121.txt
  OUT/metadata.csv                   id,title,year,url: a row a book, no header
"""

import argparse
import csv
import gzip
import pathlib
import struct
import sys
import zlib

# variable, split, Gutenberg number, title, year of the first edition
BOOKS = [
    ("sensesensibility", "train", 161, "Sense and Sensibility by Jane Austen", 1811),
    ("prideprejudice", "train", 1342, "Pride and Prejudice by Jane Austen", 1813),
    ("mansfieldpark", "train", 141, "Mansfield Park by Jane Austen", 1814),
    ("emma", "train", 158, "Emma by Jane Austen", 1815),
    ("persuasion", "validation", 105, "Persuasion by Jane Austen", 1817),
    ("northangerabbey", "test", 121, "Northanger Abbey by Jane Austen", 1817),
]

LIBRARIES = ["/usr/lib/R/site-library", "/usr/lib/R/library", "/usr/local/lib/R/site-library"]

# Item types of R's serialisation that occur in a database of character vectors.
SYMBOL, PAIRLIST, STRING, LOGICAL, INTEGER, REAL, STRINGS, LIST = 1, 2, 9, 10, 13, 14, 16, 19
REFERENCE, NULL = 255, 254
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400


class RReader:
    """Reads one serialised R object; vectors become lists, named lists dictionaries."""

    def __init__(self, data):
        self.data, self.offset, self.references = data, 0, []

    def take(self, count):
        piece = self.data[self.offset : self.offset + count]
        if len(piece) != count:
            raise ValueError(f"the R object ends at byte {len(self.data)}, in the middle of an item")
        self.offset += count
        return piece

    def integer(self):
        return struct.unpack(">i", self.take(4))[0]

    def read(self):
        if self.take(2) != b"X\n":
            raise ValueError("not in R's binary big-endian format (expected it to start with 'X')")
        version = self.integer()
        self.take(8)  # the R version that wrote it, and the oldest that reads it
        if version == 3:
            self.take(self.integer())  # name of the native encoding
        elif version != 2:
            raise ValueError(f"R serialisation version {version}; 2 and 3 are known")
        return self.item()

    def item(self):
        flags = self.integer()
        kind = flags & 0xFF
        if kind == NULL:
            return None
        if kind == REFERENCE:
            index = flags >> 8 or self.integer()
            return self.references[index - 1]
        if kind == SYMBOL:
            self.references.append(self.item())
            return self.references[-1]
        if kind == STRING:
            length = self.integer()
            return None if length == -1 else self.take(length).decode("utf-8")
        if kind == PAIRLIST:
            return self.pairlist(flags)
        length = self.integer()
        if kind in (LOGICAL, INTEGER):
            value = list(struct.unpack(f">{length}i", self.take(4 * length)))
        elif kind == REAL:
            value = list(struct.unpack(f">{length}d", self.take(8 * length)))
        elif kind in (STRINGS, LIST):
            value = [self.item() for _ in range(length)]
        else:
            raise ValueError(f"R item of type {kind} at byte {self.offset - 8}; a list or vector was expected")
        attributes = self.item() if flags & HAS_ATTRIBUTES else {}
        names = attributes.get("names")
        return dict(zip(names, value)) if kind == LIST and names else value

    def pairlist(self, flags):
        """A chain of (tag, value) cells: a dictionary by tag."""
        cells = {}
        while flags & 0xFF == PAIRLIST:
            if flags & HAS_ATTRIBUTES:
                self.item()
            tag = self.item() if flags & HAS_TAG else len(cells)
            cells[tag] = self.item()
            flags = self.integer()
        return cells


def load_novels(library):
    """Variable name -> lines, from LIBRARY/janeaustenr."""
    database = library / "janeaustenr" / "data"
    index = RReader(gzip.decompress((database / "Rdata.rdx").read_bytes())).read()
    if index["compressed"][0] != 1:
        raise ValueError(f"Rdata.rdb uses compression {index['compressed'][0]}; 1 (zlib) was expected")
    blob = (database / "Rdata.rdb").read_bytes()
    novels = {}
    for name, (offset, length) in index["variables"].items():
        novels[name] = RReader(zlib.decompress(blob[offset + 4 : offset + length])).read()
    return novels


def write_corpus(novels, out):
    total_bytes = total_words = 0
    for variable, split, number, title, _ in BOOKS:
        text = "\n".join(novels[variable]) + "\n"
        path = out / split / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        size, words = path.stat().st_size, len(text.split())
        total_bytes, total_words = total_bytes + size, total_words + words
        print(f"  {split + '/' + path.name:<20} {title:<38} {size:>9,} bytes {words:>8,} words")
    print(f"  {'all six':<20} {'':<38} {total_bytes:>9,} bytes {total_words:>8,} words")
    # Written last: its presence says that the corpus is complete.
    with open(out / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for _, _, number, title, year in BOOKS:
            writer.writerow([number, title, year, f"http://www.gutenberg.org/ebooks/{number}"])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: launch/scripts/austen.py --library /usr/lib/R/site-library build/corpora/austen")
    parser.add_argument("out", type=pathlib.Path, help="folder to write, in PG19 layout")
    parser.add_argument("--library", type=pathlib.Path, action="append",
                        help="R library folder that holds janeaustenr (default: where Debian installs it)")
    arguments = parser.parse_args()
    libraries = arguments.library or [pathlib.Path(folder) for folder in LIBRARIES]
    for library in libraries:
        if (library / "janeaustenr" / "data" / "Rdata.rdx").exists():
            break
    else:
        sys.exit(f"austen.py: no janeaustenr/data/Rdata.rdx under {', '.join(map(str, libraries))}; "
                 "install Debian's r-cran-janeaustenr or name its folder with --library")
    try:
        write_corpus(load_novels(library), arguments.out)
    except (OSError, ValueError, KeyError, zlib.error) as error:
        sys.exit(f"austen.py: {library}/janeaustenr: {error}")


if __name__ == "__main__":
    main()

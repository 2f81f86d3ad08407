#!/usr/bin/env python3
"""The scripts of the quick start, on data small enough to know the answers: launch/scripts/austen.py reads an R
database that this test writes, launch/scripts/byte_baselines.py measures texts whose probabilities are plain. And what
shellcheck says about all shell scripts."""

import gzip
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "launch" / "scripts"
NOVELS = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "persuasion", "northangerabbey"]


def run(script, *arguments):
    command = [sys.executable, SCRIPTS / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# R's serialisation, as much as a lazy-load database needs: each returns the bytes of one item.


def r_integers(*values):
    return struct.pack(f">ii{len(values)}i", 13, len(values), *values)


def r_string(text):
    data = text.encode()
    return struct.pack(">ii", 0x40009, len(data)) + data


def r_strings(*texts):
    return struct.pack(">ii", 16, len(texts)) + b"".join(map(r_string, texts))


def r_named_list(symbol, items):
    """`symbol` is how "names" is written: the symbol itself the first time, then a reference to it."""
    values = struct.pack(">ii", 0x213, len(items)) + b"".join(items.values())
    return values + struct.pack(">i", 0x402) + symbol + r_strings(*items) + struct.pack(">i", 254)


def r_object(item):
    return b"X\n" + struct.pack(">iii", 3, 0x040202, 0x030500) + struct.pack(">i", 5) + b"UTF-8" + item


def write_library(folder, novels, compression=1):
    """An R library folder with a package janeaustenr; `novels` maps names to lists of lines."""
    data = folder / "janeaustenr" / "data"
    data.mkdir(parents=True)
    blob, variables = b"", {}
    for name, lines in novels.items():
        item = r_object(r_strings(*lines))
        entry = struct.pack(">i", len(item)) + zlib.compress(item)
        variables[name] = r_integers(len(blob), len(entry))
        blob += entry
    names_symbol, names_again = struct.pack(">i", 1) + r_string("names"), struct.pack(">i", 0x1FF)
    index = {"variables": r_named_list(names_symbol, variables), "compressed": r_integers(compression)}
    (data / "Rdata.rdx").write_bytes(gzip.compress(r_object(r_named_list(names_again, index))))
    (data / "Rdata.rdb").write_bytes(blob)


class Austen(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.novels = {name: [name.upper(), "", "It is a truth\u2014two words"] for name in NOVELS}

    def run_on(self, library):
        return run("austen.py", "--library", library, self.folder / "out")

    def test_writes_six_novels_in_pg19_layout(self):
        write_library(self.folder / "library", self.novels)
        result = self.run_on(self.folder / "library")
        self.assertEqual(result.returncode, 0, result.stderr)
        files = sorted(str(path.relative_to(self.folder / "out")) for path in self.folder.glob("out/**/*.*"))
        self.assertEqual(files, ["metadata.csv", "test/121.txt", "train/1342.txt", "train/141.txt", "train/158.txt",
                                 "train/161.txt", "validation/105.txt"])
        text = (self.folder / "out/test/121.txt").read_bytes().decode()
        self.assertEqual(text, "NORTHANGERABBEY\n\nIt is a truth\u2014two words\n")
        rows = (self.folder / "out/metadata.csv").read_text().splitlines()
        self.assertEqual(len(rows), 6)
        self.assertIn("158,Emma by Jane Austen,1815,http://www.gutenberg.org/ebooks/158", rows)

    def test_names_what_is_wrong(self):
        result = self.run_on(self.folder)
        self.assertEqual(result.returncode, 1)
        self.assertIn("no janeaustenr/data/Rdata.rdx", result.stderr)
        write_library(self.folder / "bzip2", self.novels, compression=2)
        result = self.run_on(self.folder / "bzip2")
        self.assertEqual(result.returncode, 1)
        self.assertIn("uses compression 2", result.stderr)
        del self.novels["emma"]
        write_library(self.folder / "five", self.novels)
        result = self.run_on(self.folder / "five")
        self.assertEqual(result.returncode, 1)
        self.assertIn("emma", result.stderr)
        self.assertFalse((self.folder / "out/metadata.csv").exists())


class ByteBaselines(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        for split, text in (("train", b"abab"), ("test", b"ab")):
            (self.folder / split).mkdir()
            (self.folder / split / "1.txt").write_bytes(text)

    def test_prints_the_bits_per_byte_of_the_count_models(self):
        # Unigram: a and b have (2 + 1) / (4 + 256) each. Bigram: b follows a twice out of twice.
        single = 3 / 260
        unigram = -math.log2(single)
        bigram = (-math.log2(single) - math.log2((2 + single) / (2 + 1))) / 2
        arguments = []
        for memory, bits in (("kept", 1.5), ("none", 1.625)):
            path = self.folder / f"{memory}.json"
            path.write_text(json.dumps({"memory": memory, "total": {"bits_per_byte": bits}}))
            arguments += ["--model", path]
        result = run("byte_baselines.py", self.folder, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = result.stdout.splitlines()[1:]
        for line, expected in zip(lines, [unigram, bigram, 1.5, 1.625, 0.125], strict=True):
            self.assertAlmostEqual(float(line.split()[-1]), expected, delta=6e-5)
        self.assertIn("memory none", lines[3])
        self.assertIn("the memory contributes", lines[4])

    def test_refuses_what_is_no_result(self):
        (self.folder / "result.json").write_text("{}")
        result = run("byte_baselines.py", self.folder, "--model", self.folder / "result.json")
        self.assertEqual(result.returncode, 1)
        self.assertIn("result.json: not a result of palimpsest eval", result.stderr)

    def test_refuses_an_empty_corpus(self):
        result = run("byte_baselines.py", self.folder / "train")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no *.txt file", result.stderr)


class ShellScripts(unittest.TestCase):
    def test_shellcheck_has_nothing_to_say(self):
        root = SCRIPTS.parents[1]
        scripts = [*root.glob("launch/*.sh"), *root.glob("launch/scripts/*.sh"), *root.glob("launch/experiments/*.sh"), *root.glob("launch/*.sbatch"), *root.glob("tests/cluster/*.sh"), root / ".ci" / "run"]
        self.assertGreater(len(scripts), 5)
        result = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()

"""Packing on threads and ranks, in shards, killed in between: the same bytes whatever happens."""
import gzip
import json
import pathlib
import re
import signal
import socket
import time
import unittest

import h5py

from harness import EndToEndTest, TIMEOUT, text, xxh128


def content(path):
    """The bytes of a token file, in shards or not."""
    path = pathlib.Path(path)
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.is_dir() else path.read_bytes()


class PackTest(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.books = cls.folder / "books"
        cls.books.mkdir()
        for index in range(120):
            (cls.books / f"{index:03}.txt").write_text(text(500 + 977 * index % 9000, f"book {index}"), encoding="utf-8")
        (cls.books / "050.txt").write_bytes(b"\xe9")

    def test_threads_and_ranks_change_no_byte(self):
        whole = self.folder / "whole.h5"
        self.run_program("pack", self.books, whole, "--threads", 1)
        for threads in (2, 5):
            again = self.folder / f"threads-{threads}.h5"
            result = self.run_program("pack", self.books, again, "--threads", threads)
            self.assertEqual(content(again), content(whole))
            self.assertRegex(result.stdout, r"(?m)^\S+ +119 .* 1 \(1 not UTF-8\)$")
        splits = self.folder / "corpus"
        one = self.run_program("pack", splits, self.folder / "one")
        two = self.run_program("pack", splits, self.folder / "two", ranks=2)
        for split in ("train", "validation", "test"):
            self.assertEqual(content(self.folder / "two" / f"{split}.h5"), content(self.folder / "one" / f"{split}.h5"))
        self.assertEqual(two.stdout, one.stdout.replace("/one/", "/two/"))
        self.assertRegex(one.stdout, r"(?m)^all +9 ")

    def test_a_rank_that_fails_ends_the_job(self):
        result = self.run_program("pack", self.books, self.folder / "strict.h5", "--strict", "--shard-bytes", "40k", ranks=2, expect=3)
        self.assertIn("050.txt: is not UTF-8", result.stderr)
        self.assertFalse((self.folder / "strict.h5").exists())

    def test_shards_outlive_a_kill(self):
        arguments = ("--shard-bytes", "6k", "--threads", 2)
        calm, killed = self.folder / "calm.h5", self.folder / "grim.h5"
        calm_result = self.run_program("pack", self.books, calm, *arguments)
        shards = len(content(calm)) - 1
        self.assertGreater(shards, 60)

        working = self.folder / "grim.h5.packing"
        for count in (2, 20):
            process = self.start_program("pack", self.books, killed, *arguments)
            deadline = time.monotonic() + TIMEOUT
            while time.monotonic() < deadline and len(list(working.glob("*.finished"))) < count:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            self.assertEqual(process.wait(), -signal.SIGKILL)
            self.assertFalse(killed.exists())
        # What a killed process had begun, under its name.
        leftover = working / f".tmp-00070.h5-{socket.gethostname()}-{process.pid}"
        leftover.write_bytes(b"half a shard")
        finished = {path.name: path.stat().st_ino for path in working.glob("*.h5")}
        self.assertGreater(len(finished), 18)
        self.assertLess(len(finished), shards)

        result = self.run_program("pack", self.books, killed, *arguments)
        noted = int(re.search(r"(\d+) of \d+ shards are finished already", result.stderr)[1])
        self.assertGreaterEqual(noted, 19)
        kept = {path.name: path.stat().st_ino for path in killed.glob("*.h5")}
        self.assertGreaterEqual(sum(kept.get(name) == inode for name, inode in finished.items()), noted)
        self.assertFalse(working.exists())
        self.assertEqual(content(killed), content(calm))
        self.assertEqual(result.stdout, calm_result.stdout.replace("calm.h5", "grim.h5"))
        self.run_program("pack", "--check", killed)

    def test_ranks_share_shards_and_training_reads_them(self):
        train, whole = self.folder / "shared.h5", self.folder / "unshared.h5"
        self.run_program("pack", self.folder / "corpus" / "train", whole)
        self.run_program("pack", self.folder / "corpus" / "train", train, "--shard-bytes", 1000, ranks=3)
        self.assertIn("00002.h5", content(train))
        check = self.run_program("pack", "--check", train).stdout
        checksum = re.search("Checksum ([0-9a-f]{32}: the file)", check)[1]
        self.assertIn(checksum, self.run_program("pack", "--check", whole).stdout)
        for name, data in (("sharded", train), ("single", whole)):
            self.run_program("train", self.config(name), "--set", f"data.train={data}")
        self.assertEqual(self.losses("sharded"), self.losses("single"))
        # A checkpoint knows its data in either form.
        self.run_program("train", self.folder / "sharded.yaml", "--set", f"data.train={whole}", "train.steps=10")
        (train / "00001.h5").unlink()
        error = self.run_program("train", self.config("missing"), "--set", f"data.train={train}", expect=3).stderr
        self.assertIn(f"{train / '00001.h5'}: this shard is missing", error)

    def test_titles_and_years_go_from_metadata_to_results(self):
        corpus = self.folder / "library"
        (corpus / "test").mkdir(parents=True)
        for name in ("76", "99"):
            (corpus / "test" / f"{name}.txt").write_text("the memory of it\r\n" * 20, newline="")
        (corpus / "metadata.csv").write_text('76,"Emma, a novel",1815,http://x\n77,Not here,1900,http://x\n')
        packed = self.folder / "titles"
        self.run_program("pack", corpus, packed)
        shown = self.run_program("inspect", packed / "test.h5").stdout
        self.assertRegex(shown, r"(?m)^76 +1815 +80 +360 +362  Emma, a novel$")
        documents = json.loads(self.run_program("inspect", packed / "test.h5", "--json").stdout)["documents"]
        self.assertEqual(documents[0] | {"title": "Emma, a novel", "year": 1815}, documents[0])
        self.assertNotIn("title", documents[1])

        self.run_program("train", self.config("titled"))
        result = self.folder / "titled.json"
        table = self.run_program("eval", self.folder / "titled", "--data", packed / "test.h5", "--json", result).stdout
        self.assertIn("76 Emma, a novel (1815)", table)
        books = json.loads(result.read_text())["documents"]
        self.assertEqual([(book["name"], book.get("title"), book.get("year")) for book in books],
                         [("76", "Emma, a novel", 1815), ("99", None, None)])

        # In shards, with LF alone, and without titles.
        self.run_program("pack", corpus, self.folder / "lf", "--shard-bytes", 400, "--line-ends", "lf")
        documents = json.loads(self.run_program("inspect", self.folder / "lf" / "test.h5", "--json").stdout)["documents"]
        self.assertEqual([(book["bytes"], book.get("year")) for book in documents], [(340, 1815), (340, None)])
        self.run_program("pack", corpus, self.folder / "bare", "--metadata", "none")
        self.assertNotIn("Emma", self.run_program("inspect", self.folder / "bare" / "test.h5").stdout)
        (corpus / "metadata.csv").write_text("76,Emma, a novel,1815,http://x\n")
        error = self.run_program("pack", corpus, self.folder / "wrong", expect=3).stderr
        self.assertIn("metadata.csv: line 1: 5 fields, expected id,title,year,url", error)
        self.assertFalse((self.folder / "wrong").exists())

    def test_prompts_of_records_are_read_and_not_learnt(self):
        folder, whole, shards = self.folder / "records", self.folder / "records.h5", self.folder / "records-cut.h5"
        folder.mkdir()
        pairs = [{"id": f"r{i}", "prompt": text(60 + 37 * i % 200, f"prompt {i}"), "completion": " " + text(10 + i % 40, f"completion {i}")}
                 for i in range(60)]
        lines = [json.dumps(pair) + "\n" for pair in pairs]
        (folder / "a.jsonl").write_text("".join(lines[:40]), encoding="utf-8")
        with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("".join(lines[40:]))
        self.run_program("pack", folder, whole, "--threads", 1)
        self.run_program("pack", folder, shards, "--threads", 2, "--shard-bytes", 3000, ranks=2)
        self.assertIn("00002.h5", content(shards))
        shown = [json.loads(self.run_program("inspect", file, "--json").stdout) for file in (whole, shards)]
        self.assertEqual(shown[0]["checksum"], shown[1]["checksum"])
        self.assertEqual([document["name"] for document in shown[1]["documents"]], [pair["id"] for pair in pairs])
        one = json.loads(self.run_program("inspect", shards, "--document", 41, "--json").stdout)
        self.assertEqual([(part["masked"], part["text"]) for part in one["parts"]],
                         [(True, pairs[41]["prompt"]), (False, pairs[41]["completion"])])
        self.assertRegex(self.run_program("inspect", whole, "--document", 2).stdout, r"(?m)^--- masked, \d+ tokens ---$")

        for run, ranks, sequence_ranks in (("masked", 1, 1), ("masked-lanes", 2, 1), ("masked-segments", 2, 2)):
            self.run_program("train", self.config(run), "--set", f"data.train={whole}", f"train.sequence_ranks={sequence_ranks}", ranks=ranks)
        for line in self.metrics("masked"):
            self.assertGreater(line["tokens_per_second"], 0)
        # A step has no loss where all that its lanes read is prompts.
        losses = {run: [loss for loss in self.losses(run) if loss is not None] for run in ("masked", "masked-lanes", "masked-segments")}
        self.assertGreater(len(losses["masked"]), 3)
        self.assert_close(losses["masked"], losses["masked-lanes"], 1e-4)
        self.assert_close(losses["masked"], losses["masked-segments"], 1e-4)
        self.assertLess(self.metrics("masked")[-1]["tokens"], 8 * 4 * 48 / 2)  # most of what was read is prompts

        result = self.folder / "masked.json"
        self.run_program("eval", self.folder / "masked", "--data", whole, "--json", result)
        for document, pair in zip(json.loads(result.read_text())["documents"], pairs, strict=True):
            bytes_left = len(pair["completion"].encode())
            self.assertEqual((document["tokens"], document["bytes"], document["words"]),
                             (bytes_left, bytes_left, len(pair["completion"].split())))

        with open(folder / "a.jsonl", "a", encoding="utf-8") as file:
            file.write('{"prompt": "no more"}\n')
        error = self.run_program("pack", folder, self.folder / "broken.h5", expect=3).stderr
        self.assertIn('a.jsonl: line 41: a record without a text, expected one of "text"', error)
        self.assertFalse((self.folder / "broken.h5").exists())

    def test_splits_a_folder_by_names(self):
        self.run_program("pack", self.books, self.folder / "by-name", "--split-by", "hash:6/3/3")
        names = {}
        for split in ("train", "validation", "test"):
            with h5py.File(self.folder / "by-name" / f"{split}.h5") as file:
                names[split] = bytes(file["documents/names"][:]).decode().split("\0")[:-1]
        for split, begin, end in (("train", 0, 6), ("validation", 6, 9), ("test", 9, 12)):
            for name in names[split]:
                self.assertIn(int(xxh128(name.encode())[:16], 16) % 12, range(begin, end))
        self.assertEqual(sum(map(len, names.values())), 119)
        self.run_program("pack", self.folder / "corpus", self.folder / "twice", "--split-by", "hash:6/3/3", expect=2)


if __name__ == "__main__":
    unittest.main()

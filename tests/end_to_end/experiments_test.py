"""The scripts of launch/experiments: their rows train, go on, are measured and compared."""
import json
import random
import shutil
import subprocess
import unittest

from harness import PROGRAM, SOURCE, EndToEndTest, environment, text

BOOKS = SOURCE / "launch" / "experiments" / "books.sh"
SMALL = ("model.vocab_size=0 model.hidden_size=32 model.num_layers=2 model.ffn_size=48 train.batch_size=4 "
         "train.sequence_length=512 train.steps=2 optimizer.warmup_steps=1 train.threads=1")


class Books(EndToEndTest):
    def books(self, *arguments, expect=0, **variables):
        result = subprocess.run([BOOKS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, timeout=240,
                                env=environment() | {"RUNS": str(self.folder), "SETS": SMALL} | variables)
        self.assertEqual(result.returncode, expect, result.stdout)
        return result.stdout

    def setUp(self):
        pieces = self.folder / "pieces"
        pieces.mkdir(exist_ok=True)
        for split in ("train", "validation", "test"):
            if not (pieces / f"{split}.h5").exists():
                (pieces / f"{split}.h5").symlink_to(self.folder / f"{split}.h5")

    def test_every_row_is_a_configuration(self):
        rows = [line.split() for line in self.books("--list").splitlines()]
        self.assertGreater(len(rows), 15)
        for name, *changes in rows:
            with self.subTest(name):
                self.run_program("train", SOURCE / "configs" / "books.yaml", "--plan", "--set", f"train.run_directory={self.folder}/plans",
                                 *[change for change in changes if "=" in change])

    def test_rows_train_go_on_and_are_compared(self):
        names = ("linear", "local", "full")
        self.books(self.folder, *names, SETS=SMALL + " train.steps=1")
        for name in names:
            for result in (self.folder / f"{name}-1" / "evaluation").glob("*.json"):
                result.unlink()
        said = self.books(self.folder, *names)
        for name, results in {"linear": {"test.json", "test-memory-none.json"}, "local": {"test.json", "test-windows.json"},
                              "full": {"test.json"}}.items():
            self.assertEqual([line["step"] for line in self.metrics(f"{name}-1")], [1, 2])
            self.assertEqual({file.name for file in (self.folder / f"{name}-1" / "evaluation").glob("test*.json")}, results)
            self.assertRegex(said, rf"(?m)^{self.folder}/{name}-1/evaluation/test.json.*\d")
        again = self.books(self.folder, *names)
        self.assertNotIn("Result:", again)
        self.assertEqual(said.splitlines()[-5:], again.splitlines()[-5:])

    def test_mistakes_are_named(self):
        self.assertIn('no row "lokal"', self.books(self.folder, "lokal", expect=1))
        (self.folder / "empty").mkdir()
        self.assertIn("no folder in PG19's layout", self.books(self.folder / "empty", "local", expect=1, RUNS=str(self.folder / "empty")))

    def test_the_far_past_is_asked_for(self):
        runs, corpus = self.folder / "far-runs", self.folder / "far-corpus"
        (runs / "pieces").mkdir(parents=True)
        long = "we met Zanzibar " + text(101_000, "long") + " and Zanzibar, but not Memory, again"
        for split, books in {"train": [text(3000, "a")], "validation": [text(300, "b")], "test": [long, text(5000, "c")]}.items():
            (corpus / split).mkdir(parents=True)
            for index, book in enumerate(books):
                (corpus / split / f"{index}.txt").write_text(book, encoding="utf-8")
        self.run_program("tokenizer", "train", corpus, runs / "pieces" / "pieces.model", "--vocab-size", 280)
        self.books(corpus, "linear", RUNS=str(runs))
        self.assertIn("holds the pieces of", self.books(self.folder / "corpus", "linear", RUNS=str(runs), expect=1))

        far = [SOURCE / "launch" / "experiments" / "far_past.sh", corpus, runs / "linear-1"]
        said = subprocess.run(far, capture_output=True, text=True, env=environment() | {"RUNS": str(runs)}, timeout=240)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        records = {file.stem: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
                   for file in (runs / "far").glob("*.jsonl")}
        self.assertEqual({name: len(lines) for name, lines in records.items()},
                         {"repeated": 2, "recalled-start": 2, "recalled-1000": 2, "recalled-4000": 2, "recalled-16000": 1,
                          "recalled-64000": 1, "names": 1})
        self.assertEqual([turn["content"] for turn in records["names"][0]["messages"] if turn["role"] == "assistant"], ["Zanzibar"])
        self.assertEqual("".join(turn["content"] for turn in records["names"][0]["messages"]), long)
        self.assertEqual(records["recalled-1000"][1]["completion"], text(5000, "c")[-1000:-400])
        self.assertEqual(len(list((runs / "linear-1" / "evaluation").glob("far-*.json"))), 2 * len(records))
        far[1] = self.folder / "corpus"
        said = subprocess.run(far, capture_output=True, text=True, env=environment() | {"RUNS": str(runs)}, timeout=60)
        self.assertIn("holds the texts of", said.stderr)


class Adapt(EndToEndTest):
    """A parent, what goes on from it, and what learns a new domain."""
    ROWS = ("imported-overlap", "memory-best", "short-distilled-best", "abstracts-replay-25")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.abstracts = cls.folder / "abstracts.jsonl"
        cls.abstracts.write_text("".join(json.dumps({"_id": str(i), "text": text(60, f"abstract {i}")}) + "\n" for i in range(60)),
                                 encoding="utf-8")
        # Of more bytes than an excerpt has, two each behind the first.
        (cls.folder / "corpus" / "train" / "long.txt").write_text("x" + "é" * 1200 + "\nanother line\n", encoding="utf-8")
        (cls.folder / "pieces").mkdir()
        cls("run_program").run_program("tokenizer", "train", cls.folder / "corpus", cls.folder / "pieces" / "pieces.model",
                                       "--vocab-size", 280)

    def adapt(self, *arguments, expect=0, steps=2):
        small = SMALL.replace("vocab_size=0", "vocab_size=280") + f" model.segment_length=64 train.steps={steps}"
        result = subprocess.run([SOURCE / "launch" / "experiments" / "adapt.sh", *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, timeout=240,
                                env=environment() | {"RUNS": str(self.folder), "SETS": small, "DOCUMENTS": "3"})
        self.assertEqual(result.returncode, expect, result.stdout)
        return result.stdout

    def forgetting(self, *runs, expect=0):
        files = [self.folder / f"{run}-1" / "metrics.jsonl" for run in runs]
        result = subprocess.run([SOURCE / "launch" / "experiments" / "forgetting.py", *files], capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, expect, result.stderr)
        return result.stderr if expect else result.stdout

    def test_rows_go_on_from_the_parent_and_are_told_in_tables(self):
        (self.folder / "abstracts").mkdir()  # as a killed process leaves it
        said = self.adapt(self.folder / "corpus", self.abstracts, *self.ROWS)
        others = self.folder / "others.jsonl"
        others.write_text(self.abstracts.read_text(encoding="utf-8"), encoding="utf-8")
        self.assertIn("holds the abstracts of", self.adapt(self.folder / "corpus", others, *self.ROWS, expect=1))
        self.assertNotIn("UTF-8", said)
        again = self.adapt(self.folder / "corpus", self.abstracts, *self.ROWS)
        self.assertNotIn("Result:", again)
        self.assertEqual(said.splitlines()[-18:], again.splitlines()[-18:])

        result = json.loads((self.folder / "memory-best-1" / "evaluation" / "test-of-3.json").read_text(encoding="utf-8"))
        self.assertEqual(len(result["documents"]), 3)
        self.assertIn("divergence", self.metrics("short-distilled-best-1")[0])
        self.assertEqual(set(self.metrics("abstracts-replay-25-1")[0]["sources"]), {"abstracts", "books"})
        self.assertIn("Beginning with the weights of " + str(self.folder / "memory-best-1"),
                      (self.folder / "abstracts-replay-25-1" / "train.log").read_text(encoding="utf-8"))
        before, after = self.tensors("parent-1", 2), self.tensors("memory-best-1", 2)
        self.assertTrue(all(after[name] == value for name, value in before.items() if name.startswith("parameters/")))

        for name in self.ROWS:
            self.assertRegex(said, rf"(?m)^{self.folder}/{name}-1/evaluation/test-of-3.json +[-+]\d")
        sets = [line for line in self.metrics("abstracts-replay-25-1", "evaluation") if line["split"] == "books"]
        before, after = (line["token_perplexity"] for line in sets)
        self.assertIn(f"| {before:.2f} | {after:.2f} | {100 * (after / before - 1):+.2f} % |\n", self.forgetting("abstracts-replay-25"))
        self.assertIn("| run | abstracts before |", said)
        self.assertIn("no evaluation before the first step", self.forgetting("abstracts-replay-25", "memory-best", expect=1))
        unfinished = self.folder / "unfinished-1" / "metrics.jsonl"
        unfinished.parent.mkdir()
        complete = (self.folder / "abstracts-replay-25-1" / "metrics.jsonl").read_text(encoding="utf-8")
        unfinished.write_text("".join(complete.splitlines(keepends=True)[:2]), encoding="utf-8")
        self.assertIn("is not complete", self.forgetting("unfinished", expect=1))
        unfinished.write_text(complete + complete[:20], encoding="utf-8")
        self.assertIn("| unfinished-1 |", self.forgetting("unfinished"))
        unfinished.write_text(complete[:20] + "\n" + complete, encoding="utf-8")
        self.assertIn("metrics.jsonl:1: no JSON", self.forgetting("unfinished", expect=1))

        # A parent that is trained on is imported anew; what has begun with it as it was is not taken for something else.
        imported = (self.folder / "imported-overlap-1" / "config.yaml").stat().st_mtime_ns
        self.adapt(self.folder / "corpus", self.abstracts, "imported-overlap", steps=3)
        self.assertGreater((self.folder / "imported-overlap-1" / "config.yaml").stat().st_mtime_ns, imported)
        self.assertIn("has begun with parent step-00000002, and now there is parent step-00000003",
                      self.adapt(self.folder / "corpus", self.abstracts, "memory-best", expect=1, steps=3))

    def test_mistakes_are_named(self):
        self.assertIn('no row "locl"', self.adapt(self.folder / "corpus", self.abstracts, "locl", expect=1))
        self.assertIn("no file of abstracts", self.adapt(self.folder / "corpus", expect=1))
        self.assertIn("imported-best", self.adapt("--list"))
        self.assertIn("no such file of abstracts", self.adapt(self.folder / "corpus", self.folder / "none.jsonl", expect=1))
        compressed = self.folder / "compressed" / "train" / "a.txt.gz"
        for split in "train", "validation":
            (self.folder / "compressed" / split).mkdir(parents=True)
        compressed.write_bytes(b"")
        self.assertIn("a.txt.gz: compressed", self.adapt(self.folder / "compressed", self.abstracts, expect=1))


class Summaries(EndToEndTest):
    """Of a tiny model of bytes that has read four made-up books, of which one is asked for."""
    SMALL = "train.threads=1 train.batch_size=2 optimizer.warmup_steps=1"

    def test_a_base_run_learns_to_retell_and_is_asked(self):
        data, corpus, runs = self.folder / "data", self.folder / "library", self.folder / "summaries"
        pairs = []
        for number, split in enumerate(("train", "train", "train", "test")):
            book = corpus / split / f"{number}.txt"
            book.parent.mkdir(parents=True, exist_ok=True)
            book.write_text(". ".join(text(60, f"{number} {sentence}") for sentence in range(30)) + ".\n", encoding="utf-8")
            pairs.append({"pg_id": number, "pg19_split": split, "title": f"Book {number}", "document": f"../library/{split}/{number}.txt",
                          "summary": text(120, f"summary {number}")})
        data.mkdir()
        epitomes = [{"title": pair["title"], "summary": pair["summary"]} for pair in pairs] + [{"title": "Another", "summary": text(200, "another")}]
        for name, records in ("pairs", pairs), ("all_epitomes", epitomes):
            (data / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        shutil.copytree(data, self.folder / "data-2")
        self.run_program("train", self.config("base", train={"interleave": 2}))  # which no pairs can be read with

        def script(*arguments, expect=0, **variables):
            defaults = {"RUNS": str(runs), "TOKENIZER": "bytes", "SETS": self.SMALL, "K": "2", "ROOM": "30", "REGISTER_STEPS": "2",
                        "PAIR_STEPS": "12", "MAX_TOKENS": "40", "WORDS": "5"}
            result = subprocess.run([SOURCE / "launch" / "experiments" / "summaries.sh", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True, stdin=subprocess.DEVNULL, timeout=240, env=environment() | defaults | variables)
            self.assertEqual(result.returncode, expect, result.stdout)
            return result.stdout

        self.assertIn("no run directory", script(data, corpus, self.folder / "none", expect=1))
        said = script(data, corpus, self.folder / "base")
        lines = [json.loads(line) for line in (runs / "texts" / "register.jsonl").read_text(encoding="utf-8").splitlines()]
        self.assertEqual(len(lines), 4)
        self.assertNotIn(pairs[3]["summary"], [line["text"] for line in lines])
        written = json.loads((runs / "results-1" / "written.jsonl").read_text(encoding="utf-8"))
        self.assertEqual(written["id"], "3")
        book = (corpus / "test" / "3.txt").read_text(encoding="utf-8")
        for like, words in ("written", max(1, len(written["text"].split()))), ("reference", len(pairs[3]["summary"].split())):
            for kind in "lead", "random", "centroid":
                extract = json.loads((runs / "results-1" / f"{like}-length" / f"{kind}.jsonl").read_text(encoding="utf-8"))["text"]
                self.assertEqual(len(extract.split()), words, kind)
                self.assertTrue(all(line in book for line in extract.splitlines()), kind)
        lead = json.loads((runs / "results-1" / "reference-length" / "lead.jsonl").read_text(encoding="utf-8"))["text"]
        self.assertTrue(book.startswith(" ".join(lead.split())))
        ranking = json.loads((runs / "results-1" / "ranking.json").read_text(encoding="utf-8"))
        self.assertEqual([(row["id"], row["books"]) for row in ranking["queries"]], [("3", 4), ("0", 4), ("1", 4), ("2", 4)])
        self.assertAlmostEqual(ranking["means"]["train"]["difference"], sum(row["difference"] for row in ranking["queries"][1:]) / 3)
        # What remembers the first, or the last, segment of 16 tokens alone: one begins the document, the others are bytes.
        for part, place in ("first", slice(15)), ("last", slice(-15, None)):
            self.assertEqual({path.stem: path.read_text(encoding="utf-8") for path in (runs / "texts" / part).rglob("*.txt")},
                             {path.stem: path.read_bytes()[place].decode(errors="ignore") for path in corpus.rglob("*.txt")})
            other = json.loads((runs / "results-1" / f"ranking-{part}.json").read_text(encoding="utf-8"))["queries"]
            more = [row["difference"] - less["difference"] for row, less in zip(ranking["queries"], other)]
            self.assertNotEqual(more, [0, 0, 0, 0])
            self.assertIn(f"by {sum(more) / 4:+.4f} ± ", said)
            self.assertIn(f"more than in ranking-{part}; more for {sum(each > 0 for each in more)} of 4", said)
        # The rank is what other tools find in the run.
        measured = json.loads((runs / "pairs-1" / "evaluation" / "search.json").read_text(encoding="utf-8"))
        self.assertEqual([1 / row["rank"] for row in ranking["queries"]],
                         [next(row["runs"][0]["mrr"] for row in measured["by_query"] if row["query"] == query["id"]) for query in ranking["queries"]])
        # Steps before the segments of a summary have no target, and are read all the same.
        losses = [line["loss"] for line in self.metrics("summaries/pairs-1")]
        self.assertEqual(len(losses), 12)
        self.assertIn(None, losses)
        self.assertGreater(len(losses) - losses.count(None), 0)
        for row in (r"lead-written-length +0\.", r"centroid-reference-length +0\.", r"(?m)^written +[01]\.", r"mean +test", "summaries-memory-none"):
            self.assertRegex(said, row)
        # Again: nothing is made anew, and the tables are the same.
        states = {file: file.stat().st_mtime_ns for files in ((runs / "results-1").rglob("*"), (runs / "pairs-1" / "evaluation").glob("rouge-*"))
                  for file in files if file.name not in ("results", "ranking.json", "ranking-first.json", "ranking-last.json")}
        again = script(data, corpus, self.folder / "base")
        self.assertEqual({file: file.stat().st_mtime_ns for file in states}, states)
        self.assertEqual(said[said.index("F1, with"):].splitlines()[1:8], again[again.index("F1, with"):].splitlines()[1:8])
        # With other settings what depends on them is made anew.
        script(data, corpus, self.folder / "base", MAX_TOKENS="20", WORDS="3")
        shorter = json.loads((runs / "results-1" / "written.jsonl").read_text(encoding="utf-8"))
        self.assertEqual((written["tokens"], shorter["tokens"]), (40, 20))
        queries = (runs / "texts" / "queries.jsonl").read_text(encoding="utf-8")
        self.assertTrue(all(len(json.loads(line)["text"].split()) == 3 for line in queries.splitlines()))
        kept = {file.name for file in states if file.stat().st_mtime_ns == states[file]}
        self.assertEqual(kept, {"reference-length", "lead.jsonl", "random.jsonl", "centroid.jsonl", *(f"rouge-{kind}-reference-length.json" for kind in ("lead", "random", "centroid"))})
        self.run_program("report", runs / "pairs-1", "--out", runs / "report.html", "--csv", runs / "csv")
        shown = (runs / "csv" / "rouge_results.csv").read_text(encoding="utf-8")
        self.assertEqual(sorted({line.split(",")[1] for line in shown.splitlines()[1:]})[-1], "rouge-written")

        self.assertIn("holds the texts of", script(self.folder / "data-2", corpus, self.folder / "base", expect=1))
        full = self.folder / "full" / "config.yaml"
        full.parent.mkdir()
        full.write_text((self.folder / "base" / "config.yaml").read_text(encoding="utf-8").replace("kind: infini", "kind: full"), encoding="utf-8")
        self.assertIn("of attention kind full", script(data, corpus, self.folder / "full", expect=1))


class Excerpts(EndToEndTest):
    def test_no_character_is_cut(self):
        book = self.folder / "shelf" / "train" / "1.txt"
        book.parent.mkdir(parents=True)
        for part, tokens, whole, expected in (("first", 15, "é" * 40, "é" * 7), ("last", 14, "é" * 40 + "a", "é" * 6 + "a"),
                                             ("first", 15, "\U0001d11e" * 9, "\U0001d11e" * 3), ("last", 15, "\U0001d11e" * 9, "\U0001d11e" * 3),
                                             ("last", 100, "é" * 40, "é" * 40)):
            book.write_text(whole, encoding="utf-8")
            result = subprocess.run([SOURCE / "launch" / "experiments" / "excerpts.py", part, PROGRAM, "bytes", str(tokens), self.folder / "shelf",
                                     self.folder / "cut"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            self.assertEqual((result.returncode, result.stdout), (0, ""))
            self.assertEqual((self.folder / "cut" / "train" / "1.txt").read_text(encoding="utf-8"), expected)
        refused = subprocess.run([SOURCE / "launch" / "experiments" / "excerpts.py", "last", PROGRAM, "bytes", "0", self.folder / "shelf", self.folder / "cut"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("0: expected a number of tokens, 1 or more", refused.stdout)


class NGrams(EndToEndTest):
    SCRIPT = SOURCE / "launch" / "experiments" / "ngrams.py"

    def test_what_followed_what_far_before_is_worth_much(self):
        letters, shelf = random.Random(1), self.folder / "ngrams"
        for split, copies in (("train", 1), ("test", 2)):
            book = shelf / "texts" / split / "1.txt"
            book.parent.mkdir(parents=True)
            book.write_text("".join(letters.choices("abcdefghijklmnopqrst", k=3000)) * copies, encoding="utf-8")
        self.run_program("pack", shelf / "texts", shelf, "--tokenizer", "bytes")
        done = subprocess.run(["/usr/bin/python3", self.SCRIPT, shelf / "train.h5", shelf / "test.h5", "--skip", "3000", "--every", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        worth = {row[1].strip(): float(row[3]) for row in (line.split("|") for line in done.stdout.splitlines()) if len(row) == 5 and row[3].strip()[:1] in "+-"
                 and "far" in row[1]}
        self.assertLess(abs(worth["and far single tokens"]), 0.02)  # they are as often in one place as in another
        self.assertLess(worth["and far triples"], -0.5)
        self.assertLess(worth["and far triples"], worth["and far pairs"])

    def test_near_and_far_counts_are_those_of_a_loop(self):
        check = """
import importlib.util, sys, numpy
spec = importlib.util.spec_from_file_location("ngrams", sys.argv[1])
ngrams = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ngrams)
keys = numpy.random.default_rng(1).integers(-1, 4, 200)
near, far = ngrams.counts_before(keys, 7)
for i, key in enumerate(keys):
    split = max(i - 7, 0)
    assert near[i] == (key >= 0) * (keys[split:i] == key).sum(), i
    assert far[i] == (key >= 0) * (keys[:split] == key).sum(), i
"""
        done = subprocess.run(["/usr/bin/python3", "-B", "-c", check, self.SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_other_files_are_refused(self):
        other = self.folder / "other.h5"
        other.write_text("no HDF5", encoding="utf-8")
        done = subprocess.run(["/usr/bin/python3", self.SCRIPT, other, other], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{other}: no token file", done.stdout)


class Searches(EndToEndTest):
    def search(self, *arguments, expect=0, first=5):
        result = subprocess.run([SOURCE / "launch" / "experiments" / "search.sh", *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, timeout=240,
                                env=environment() | {"RUNS": str(self.folder / "runs"), "FIRST": str(first),
                                                     "SETS": SMALL + " model.segment_length=32 train.sequence_length=640"})
        self.assertEqual(result.returncode, expect, result.stdout)
        return result.stdout

    def test_rows_train_index_and_are_compared(self):
        collection, runs = self.folder / "collection", self.folder / "runs"
        (collection / "qrels").mkdir(parents=True)
        lines = {"corpus.jsonl": [{"_id": f"d{i}", "title": f"title {i}", "text": text(150, i) + f" word{i}"} for i in range(8)],
                 "queries.jsonl": [{"_id": f"q{i}", "text": f"word{i} memory"} for i in range(4)]}
        for name, objects in lines.items():
            (collection / name).write_text("".join(json.dumps(line) + "\n" for line in objects), encoding="utf-8")
        self.assertIn("expected qrels/test.tsv in it", self.search(collection, expect=1))
        (collection / "qrels" / "test.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(4)), encoding="utf-8")
        runs.mkdir()
        self.run_program("tokenizer", "train", self.folder / "corpus", runs / "pieces.model", "--vocab-size", 280)
        self.assertEqual([line.split()[0] for line in self.search("--list").splitlines()], ["generative", "contrast"])
        self.assertIn('no row "memory"', self.search(collection, "memory", expect=1))
        said = self.search(collection)
        for name in ("generative", "contrast"):
            evaluation = runs / f"{name}-1" / "evaluation"
            self.assertEqual({file.name for file in evaluation.iterdir()},
                             {"settings", "bm25.run", "bm25.jsonl", "memory.run", "memory.jsonl", "memory.json", "both.run", "both.json"})
            fitted = (evaluation / "both.run").read_text(encoding="utf-8").splitlines()
            self.assertEqual({line.split()[0] for line in fitted}, {f"q{i}" for i in range(4)})
        self.assertEqual(said.count("fitted on the other half"), 4)
        # Full-text search has found every document, and of the weights that do no better 0 is the first.
        self.assertEqual(said.count("2 queries with a weight of 0.0"), 4)
        again = self.search(collection)
        self.assertNotRegex(again, r"Result: .*(run|jsonl)\n")
        self.assertEqual(said.splitlines()[-5:], again.splitlines()[-5:])
        self.run_program("report", runs / "generative-1", "--out", runs / "report.html", "--csv", runs / "csv")
        self.assertIn("both", (runs / "csv" / "search.csv").read_text(encoding="utf-8"))

        # Other settings, other queries: nothing is told of what was found before.
        evaluation = runs / "generative-1" / "evaluation"
        queries = (collection / "queries.jsonl").read_text(encoding="utf-8")
        (collection / "queries.jsonl").write_text(queries.replace("word3", "word4"), encoding="utf-8")
        self.search(collection, "generative", first=1)
        self.assertEqual({line.split()[3] for line in (evaluation / "memory.run").read_text(encoding="utf-8").splitlines()}, {"1"})
        self.assertIn("q3 Q0 d4 1 ", (evaluation / "bm25.run").read_text(encoding="utf-8"))

    def test_a_weight_needs_documents(self):
        found = self.folder / "found.jsonl"
        for content, message in ("", "holds no query"), ('{"id": "a", "documents": []}\n', "no document was found for any query"):
            found.write_text(content, encoding="utf-8")
            result = subprocess.run([SOURCE / "launch" / "experiments" / "interpolate.py", "program", found, "judged", self.folder / "out"],
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual((result.returncode, result.stderr), (1, f"{found}: {message}\n"))


class BookSearch(EndToEndTest):
    """Whose sentence is it, and whose retelling? Of five made-up books, each with a name of its own."""
    WORDS = ("memory", "palimpsest", "written", "again", "harbour", "letter", "window", "garden")

    def sentence(self, generator, name):
        return " ".join([name, *(generator.choice(self.WORDS) for _ in range(9))]) + "."

    def test_books_are_found_by_sentences_and_by_paragraphs(self):
        data, corpus, runs = self.folder / "book-data", self.folder / "shelf", self.folder / "book-search"
        books, pairs = {}, []
        for number, split in enumerate(("train", "train", "train", "validation", "test")):
            generator, name = random.Random(number), f"{split}/{number}"
            book = corpus / f"{name}.txt"
            book.parent.mkdir(parents=True, exist_ok=True)
            books[name] = "\n\n".join("\n".join(self.sentence(generator, f"Name{number}") for _ in range(4)) for _ in range(12)) + "\n"
            book.write_text(books[name], encoding="utf-8")
            if split == "train":  # so that no paragraph is about an unmet book
                told = "\n\n".join(self.sentence(generator, f"Name{number}") + " more" for _ in range(2))
                pairs.append({"pg_id": number, "document": f"../shelf/{name}.txt", "summary": "_I. A\u2028Heading_\n\n" + told})
        data.mkdir()
        (data / "pairs.jsonl").write_bytes("\r\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs).encode())
        self.run_program("train", self.config("reader"))

        def script(*arguments, expect=0, **variables):
            defaults = {"RUNS": str(runs), "TOKENIZER": "bytes", "SETS": "train.threads=1", "STEPS": "2", "SEGMENTS": "12", "SENTENCES": "12"}
            result = subprocess.run([SOURCE / "launch" / "experiments" / "book_search.sh", *arguments], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, timeout=240,
                                    env=environment() | defaults | variables)
            self.assertEqual(result.returncode, expect, result.stdout)
            return result.stdout

        self.assertEqual([line.split()[0] for line in script("--list").splitlines()], ["base", "generative", "contrast"])
        self.assertIn("no run directory", script(data, corpus, self.folder / "none", expect=1))
        self.assertIn('no row "memory"', script(data, corpus, self.folder / "reader", "memory", expect=1))
        said = script(data, corpus, self.folder / "reader", "base", "contrast")

        texts = runs / "texts"
        queries = {query["_id"]: query["text"] for query in map(json.loads, (texts / "sentences.jsonl").read_text(encoding="utf-8").splitlines())}
        judged = dict(line.split()[0:3:2] for line in (texts / "sentences.tsv").read_text(encoding="utf-8").splitlines())
        self.assertEqual((len(queries), queries.keys()), (12, judged.keys()))
        left = {name: (texts / "books" / f"{name}.txt").read_text(encoding="utf-8") for name in books}
        for query, name in judged.items():
            self.assertIn(queries[query], books[name])
            self.assertNotIn(queries[query], left[name])
        for name, book in books.items():  # all of them, no word more is gone, and each gives about as many as the others
            taken = [queries[query] for query in judged if judged[query] == name]
            self.assertIn(len(taken), (2, 3))
            self.assertEqual(sorted((left[name] + " " + " ".join(taken)).split()), sorted(book.split()))
        unmet = (texts / "sentences-unmet.tsv").read_text(encoding="utf-8").splitlines()
        self.assertEqual({line.split()[2] for line in unmet}, {"validation/3", "test/4"})
        paragraphs = (texts / "paragraphs.tsv").read_text(encoding="utf-8").split()
        self.assertEqual(paragraphs[0::4], ["0-2", "0-3", "1-2", "1-3", "2-2", "2-3"])
        passages = [json.loads(line)["text"] for line in (texts / "passages.jsonl").read_text(encoding="utf-8").splitlines()]
        self.assertEqual(" ".join(passages).split(), " ".join(left[name] for name in sorted(books) if name.startswith("train/")).split())

        for row in ("base", "contrast"):
            run = runs / f"{row}-1"
            # What a first segment of 16 tokens holds: the begin token and 15 bytes.
            self.assertEqual({file.read_text(encoding="utf-8") for file in (run / "first").rglob("*.txt")}, {book[:15] for book in left.values()})
            for kind, count in ("sentences", 12), ("paragraphs", 6):
                for name in "first-memory", "bm25-memory", "bm25-both":
                    result = json.loads((run / "evaluation" / f"{kind}-{name}.json").read_text(encoding="utf-8"))
                    self.assertEqual((result["queries"], [found["unanswered"] for found in result["runs"]]), (count, [0, 0]))
        self.assertRegex(said, r"\| sentences \| chance \(expected\) \| 12 \| 0.200 \| 0.5897 \| \| 0.4567 \|")
        self.assertEqual(said.count(f"| sentences of unmet books | BM25 | {len(unmet)} | 1.000 | 1.0000 | 1.0000 to 1.0000 | 1.0000 |"), 2)
        self.assertRegex(said, r"\| sentences \| memory of the whole book less memory of the first segment \| [-+]0\.")
        # Again: nothing is made anew, and the tables are the same.
        files = {file: file.stat().st_mtime_ns for kind in ("*.run", "*.jsonl") for file in runs.rglob(kind) if not file.name.endswith("both.run")}
        again = script(data, corpus, self.folder / "reader", "contrast")
        self.assertEqual({file: file.stat().st_mtime_ns for file in files}, files)
        self.assertEqual(said[said.rindex("| queries | order"):], again[again.rindex("| queries | order"):])
        self.assertIn("| sentences | memory of the whole book, of BM25's first 2 | 12 |", script(data, corpus, self.folder / "reader", "contrast", FIRST="2"))

        # Nor are these results taken for those of another base of that name, or of other data.
        other = self.folder / "elsewhere" / "reader"
        other.mkdir(parents=True)
        shutil.copy(self.folder / "reader" / "config.yaml", other)
        self.assertIn("holds the results of", script(data, corpus, other, expect=1))
        with (data / "pairs.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(pairs[0]))
        self.assertIn("which has changed since", script(data, corpus, self.folder / "reader", expect=1))
        self.assertIn("pairs.jsonl:4: a second record of pg_id 0", script(data, corpus, self.folder / "reader", expect=1, RUNS=str(runs) + "-2"))


if __name__ == "__main__":
    unittest.main()

"""palimpsest index and search: from a corpus to measures, over a kill."""
import json
import re
import signal
import subprocess
import time
import unittest

from harness import TIMEOUT, EndToEndTest, command, environment, job, text


class Search(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.corpus = cls.folder / "corpus.jsonl"
        documents = [{"_id": f"d{i}", "title": f"title{i}", "text": text(120 + 40 * i, i) + f" word{i}"}
                     for i in range(12)]
        cls.corpus.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        cls.queries = cls.folder / "queries.jsonl"
        cls.queries.write_text("".join(json.dumps({"_id": f"q{i}", "text": f"word{i} memory"}) + "\n"
                                       for i in range(3)), encoding="utf-8")
        cls.judgements = cls.folder / "qrels.tsv"
        cls.judgements.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(3)),
                                  encoding="utf-8")

    def test_from_a_corpus_to_measures(self):
        model = self.config("search", train={"steps": 2})
        self.run_program("train", model)
        index, run = self.folder / "index", self.folder / "search.run"
        noted = self.run_program("index", model, self.corpus, index).stderr
        self.assertRegex(noted, r"Read 12 documents, \d+ tokens, [\d.]+ documents/(s|min); 0 unchanged")
        self.assertIn("Read 0 documents, 0 tokens, 0.0 documents/s; 12 unchanged",
                      self.run_program("index", model, self.corpus, index).stderr)
        self.assertRegex(self.run_program("inspect", index).stdout, r"documents +12, \d+ tokens\nmemories +[\d.]+ kB a document")
        for stage in ([], ["--first-stage", "bm25:5", "--interpolate", "0.5"], ["--first-stage", "only"]):
            self.run_program("search", model, index, "--queries", self.queries, "--run", run, *stage)
            self.assertIn("3 queries", self.run_program("measure", run, self.judgements).stdout)
        # The last of them is full-text search, which knows the words.
        self.assertRegex(self.run_program("measure", run, self.judgements).stdout, r"MRR +1\.0000 ")
        table = self.run_program("search", model, index, "--query", "word7", "--first-stage", "bm25:1").stdout
        self.assertRegex(table, r"1 +-\d+\.\d+ +-\d+\.\d+ +\d+\.\d+ +title7 \(d7\)\n {6}\w+ .*\n")
        output = self.folder / "found.jsonl"
        self.run_program("search", model, index, "--query", "memory", "--json", output, "--depth", 4)
        self.assertEqual(self.run_program("search", model, index, "--query", "memory", "--json", "-", "--depth", 4).stdout,
                         output.read_text(encoding="utf-8"))
        found = json.loads(output.read_text(encoding="utf-8"))
        self.assertEqual(len(found["documents"]), 4)
        self.assertLess(found["documents"][0]["log_likelihood"], 0)

        spaced = self.folder / "spaced.jsonl"
        spaced.write_text('{"_id": "a query", "text": "x"}\n', encoding="utf-8")
        self.assertIn('query "a query" cannot stand in a run file',  # the model is not looked for until then
                      self.run_program("search", self.folder / "none", index, "--queries", spaced, "--run", run,
                                       expect=3).stderr)

        # More than a rank reads in one go: the same by one rank and by two.
        many, found = self.folder / "many.jsonl", []
        many.write_text("".join(json.dumps({"_id": f"{i}", "text": text(20 + i, i)}) + "\n" for i in range(90)),
                        encoding="utf-8")
        for ranks in (1, 2):
            folder, output = self.folder / f"{ranks}.index", self.folder / f"{ranks}.jsonl"
            self.assertIn("Read 90 documents",
                          self.run_program("index", model, many, folder, "--threads", 1, ranks=ranks).stderr)
            self.assertGreaterEqual(len(list(folder.glob("states-*"))), ranks)  # more, where the machine is slow
            self.run_program("search", model, folder, "--query", "memory", "--json", output)
            found.append(output.read_text(encoding="utf-8"))
        self.assertEqual(*found)

        gone = self.folder / "gone.txt"
        gone.write_text("5\nnone\n", encoding="utf-8")
        noted = self.run_program("index", model, folder, "--remove", "3", "4", "--remove-file", gone).stderr
        self.assertIn("does not have 1 of the ids that were to be removed, the first none", noted)
        self.assertRegex(noted, "Removed 3 documents\n.*: 87 documents")
        self.assertIn("does not have 1 of the ids", self.run_program("index", model, folder, "--remove", "3", expect=3).stderr)
        for option in (["--type", "float32"], ["--stem", "none"], ["--skip-empty"]):
            self.assertIn("takes no --type, --stem and --skip-empty",
                          self.run_program("index", model, folder, *option, "--remove", "7", expect=2).stderr)
        self.assertIn("--remove needs MODEL and INDEX",
                      self.run_program("index", model, many, folder, "--remove", "3", expect=2).stderr)

        with open("/dev/full", "w", encoding="utf-8") as full:
            for arguments in (["search", model, index, "--query", "x", "--first-stage", "only"],
                              ["search", model, index, "--query", "x", "--first-stage", "only", "--json", "-"],
                              ["inspect", index]):
                result = subprocess.run(command(arguments, 1), stdout=full, stderr=subprocess.PIPE, text=True,
                                        env=environment(), timeout=TIMEOUT)
                self.assertNotEqual(result.returncode, 0, arguments)
                self.assertIn("standard output cannot be written", result.stderr)
        self.assertIn("is an index: expected a token file",
                      self.run_program("inspect", index, "--document", 0, expect=2).stderr)

        other = self.config("other", train={"steps": 2, "seed": 5})
        self.run_program("train", other)
        self.assertIn("is the state of another model",
                      self.run_program("search", other, index, "--query", "x", expect=3).stderr)
        self.assertIn("is the state of another model",
                      self.run_program("index", other, self.corpus, index, expect=3).stderr)
        for arguments, expected in ((["--query", " "], "--query is empty"), ([], "either --query TEXT or --queries FILE"),
                                    (["--query", "x", "--first-stage", "bm25:0"], "--first-stage is bm25:0"),
                                    (["--query", "x", "--interpolate", "0.5"], "--interpolate has nothing"),
                                    (["--query", "x", "--k1", "inf"], "--k1 is inf")):
            self.assertIn(expected, self.run_program("search", model, index, *arguments, expect=2).stderr)

    def test_ranks_with_other_corpora_are_refused(self):
        model = self.config("ranks", train={"steps": 1})
        self.run_program("train", model)
        shorter, index = self.folder / "shorter.jsonl", self.folder / "ranks.index"
        lines = self.corpus.read_text(encoding="utf-8").splitlines(keepends=True)
        for kept, expected in ((lines[:5], "has 5 documents, that of the first rank 12"),
                               (lines[:11] + ['{"_id": "e", "text": "x"}\n'], "has 12 documents, and the first rank's has others")):
            shorter.write_text("".join(kept), encoding="utf-8")
            process = self.start(job(*(command(["index", model, corpus, index], 1) for corpus in (self.corpus, shorter))))
            output = process.communicate(timeout=TIMEOUT)[0]
            self.assertNotEqual(process.returncode, 0)
            self.assertIn(expected, output)
            self.assertFalse(index.exists())

    def test_likelihoods_outlive_a_stop_among_sentences(self):
        model = self.config("sentences", train={"steps": 1})
        self.run_program("train", model)
        index, found, queries = (self.folder / name for name in ("sentences.index", "sentences.jsonl", "many.txt"))
        self.run_program("index", model, self.corpus, index)
        queries.write_text("memory\n" * 100, encoding="utf-8")
        process, terminal = self.start_on_terminal("search", model, index, "--queries", queries, "--json", found,
                                                   "--sentences", 12)
        self.read_until(terminal, "sentences: ")
        process.send_signal(signal.SIGINT)
        output = self.read_until(terminal, None)
        self.assertIn(process.wait(), (0, 130), output)  # 0: it was quicker
        if process.returncode == 130:
            self.assertIn("Stopped by SIGINT: some sentences are missing", output)
        lines = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([len(line["documents"]) for line in lines], [12] * 100)

    def config_of_queries(self, run, steps):
        file = self.config(run, train={"steps": steps})
        data = f"  kind: queries\n  corpus: {self.corpus}\n  tokenizer: bytes"
        file.write_text(re.sub(r"(?m)^  train: .*$", data, file.read_text(encoding="utf-8")), encoding="utf-8")
        return file

    def test_documents_are_trained_on_with_queries_of_their_own(self):
        for run, steps in (("asked", 4), ("asked-again", 2)):
            model = self.config_of_queries(run, steps)
            self.assertIn("queries of 12 documents", self.run_program("train", model).stdout)
        self.assertIn("2 batches of queries of documents read, seed", self.run_program("inspect", model).stdout)
        self.run_program("train", model, "--set", "train.steps=4", ranks=2)
        self.assert_close(self.losses("asked-again"), self.losses("asked"), 1e-5)
        self.assertIn("titles", self.run_program("train", model, "--set", "train.steps=5", "data.titles=3", expect=2).stderr)

    def test_documents_are_contrasted_alike_on_two_ranks(self):
        for run, ranks in (("one", 1), ("two", 2)):
            log = self.run_program("train", self.config_of_queries(run, 3), "--set", "data.contrast=0.5",
                                   "data.contrast_documents=2", "train.sequence_length=128", ranks=ranks).stdout
            self.assertIn("; 2 documents are asked each other's", log)
            self.assertRegex(log, r"contrast \d\.\d{4} \(\d+\.\d % found\)")
        one, two = self.metrics("one"), self.metrics("two")
        self.assert_close([line["contrast"] for line in two], [line["contrast"] for line in one], 1e-4)
        self.assert_close(self.losses("two"), self.losses("one"), 1e-5)
        self.assertTrue(all(0 <= line["found"] <= 1 for line in one))

    def test_a_stopped_index_goes_on(self):
        model = self.config("stopped", train={"steps": 1})
        self.run_program("train", model)
        folder = self.folder / "books"
        folder.mkdir()
        for i in range(4):
            (folder / f"{i}.txt").write_text(text(30000, i), encoding="utf-8")
        index = self.folder / "books.index"
        process = self.start_program("index", model, folder, index)
        while not (index / "index.json").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output = process.communicate()[0]
        if process.returncode != 0:  # it was quicker
            self.assertEqual(process.returncode, 130, output)
            self.assertIn("Stopped by SIGINT: the same command goes on", output)
        self.run_program("index", model, folder, index)
        whole = self.folder / "whole.index"
        self.run_program("index", model, folder, whole)
        tables = [self.run_program("search", model, folder_of, "--query", "written").stdout
                  for folder_of in (index, whole)]
        self.assertEqual(tables[0], tables[1])


if __name__ == "__main__":
    unittest.main()

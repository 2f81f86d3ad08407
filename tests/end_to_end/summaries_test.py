"""From documents with summaries to a model that writes some, and back to whole books; what is finished is never lost."""
import gzip
import json
import os
import unittest

import h5py

from harness import HOST, TIMEOUT, EndToEndTest, text


class Summaries(EndToEndTest):
    GREEDY = ("--temperature", 0, "--max-tokens", 30)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pairs = []
        for i in range(6):
            document = text(200 + 150 * i, f"document{i}")
            pairs.append({"id": f"p{i}", "title": "left aside", "document": document, "summary": " ".join(document.split()[:4]) + "."})
        (cls.folder / "long.txt").write_text(pairs[4]["document"], encoding="utf-8")
        pairs[4]["document"] = "long.txt"
        del pairs[5]["id"]
        cls.pairs = cls.folder / "pairs.jsonl"
        cls.pairs.write_text("\n".join(map(json.dumps, pairs)) + "\n", encoding="utf-8")
        cls.documents = [pair["document"] for pair in pairs]
        cls.documents[4] = (cls.folder / "long.txt").read_text(encoding="utf-8")
        trained = cls()
        trained.run_program("pack", cls.pairs, cls.folder / "pairs.h5", "--records", "summary")
        for run, seed in (("trained", 1), ("other", 2)):
            trained.run_program("train", trained.config(run, data={"train": cls.folder / "pairs.h5"}), "--set", f"train.seed={seed}",
                                "--set", "train.steps=20")

    def summarize(self, *arguments, run="trained", **options):
        return self.run_program("summarize", self.folder / run, *arguments, **options)

    def book(self, name, content):
        file = self.folder / name
        file.write_text(content, encoding="utf-8")
        return file

    def test_summaries_are_what_the_template_is_continued_with(self):
        result = self.summarize(self.pairs, "--json", *self.GREEDY)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([line["id"] for line in lines], ["p0", "p1", "p2", "p3", "p4", f"pairs@{self.pairs.read_text().rindex(chr(10) + '{') + 1}"])
        for document, line in zip(self.documents, lines):
            prompt = self.book("prompt.txt", f"{document}\n\nSummary:\n")
            alone = self.run_program("generate", self.folder / "trained", "--prompt-file", prompt, "--quiet", *self.GREEDY).stdout
            self.assertEqual(line["text"] + "\n", alone)
            self.assertEqual(line["document_tokens"], len(prompt.read_bytes()) + 1)
        self.assertIn("6 of 6 documents", result.stderr)
        self.assertEqual(self.summarize(self.folder / "long.txt", *self.GREEDY).stdout, lines[4]["text"] + "\n")
        # Another template, and the end of a summary by what it has behind it.
        other = ("--template", "{document}\\n\\nSummary:\\n{summary}" + lines[4]["text"][10:14])
        cut = lines[4]["text"].index(lines[4]["text"][10:14])
        self.assertEqual(self.summarize(self.folder / "long.txt", *other, *self.GREEDY).stdout, lines[4]["text"][:cut] + "\n")

    def test_ranks_share_the_books_and_keep_their_order(self):
        compressed, out = self.folder / "pairs.jsonl.gz", self.folder / "written.jsonl"
        compressed.write_bytes(gzip.compress(self.pairs.read_bytes()))
        books = (compressed, self.folder / "long.txt", self.pairs)
        alone = self.summarize(*books, "--json", "--temperature", 0.7, "--max-tokens", 8, "--threads", 1)
        self.summarize(*books, "--out", out, "--temperature", 0.7, "--max-tokens", 8, "--threads", 1, ranks=3)
        self.assertEqual(out.read_text(encoding="utf-8"), alone.stdout)
        self.assertEqual(len(alone.stdout.splitlines()), 13)
        # Its own output is what rouge measures.
        measured = self.run_program("rouge", self.pairs, self.book("six.jsonl", "".join(alone.stdout.splitlines(True)[:6])))
        self.assertIn("6 texts", measured.stdout)
        self.assertIn("ROUGE-Lsum", measured.stdout)

    def test_steps_begin_segments_before_a_summary_whatever_stops_them(self):
        aligned = {"data": {"train": self.folder / "pairs.h5", "segments_before_targets": 2},
                   "train": {"batch_size": 2, "micro_batch_size": 1, "sequence_length": 64, "steps": 40}}
        self.run_program("train", self.config("aligned", **aligned))
        whole = self.losses("aligned")
        self.assertGreater(whole.count(None), 2)  # steps in the midst of documents
        self.assertLess(whole.count(None), 37)
        for run, ranks, together, delta in ("stopped", 1, 1, 0), ("shared", 2, 1, 1e-3), ("together", 2, 2, 1e-3):
            config = self.config(run, **aligned)
            self.run_program("train", config, "--stop-after", 17, "--set", f"train.sequence_ranks={together}", ranks=ranks)
            self.run_program("train", config)
            losses = self.losses(run)
            self.assertEqual([loss is None for loss in losses], [loss is None for loss in whole])
            for loss, expected in zip(losses, whole):
                self.assertAlmostEqual(loss or 0, expected or 0, delta=delta)
        self.assertIn("40 batches of 2 lanes x 64 tokens read, 2 segments before a target", self.run_program("inspect", self.folder / "aligned").stdout)
        for change in "data.segments_before_targets=1", "data.segments_before_targets=0":
            self.assertIn("segments_before_targets", self.run_program("train", config, "--set", change, "train.steps=60", expect=2).stderr)
        for change in "train.carry_memory=false", "data.segments_before_targets=4":
            self.assertIn("segments_before_targets", self.run_program("train", self.config("never", **aligned), "--set", change, expect=2).stderr)

    def test_a_state_is_asked_again(self):
        state, book = self.folder / "book.state", self.book("book.txt", text(2000, "book"))
        first = self.summarize(book, "--save-state", state, *self.GREEDY).stdout
        self.assertEqual(first, self.summarize(book, *self.GREEDY).stdout)
        self.assertEqual(self.summarize("--state", state, *self.GREEDY).stdout, first)
        shorter = self.summarize("--state", state, "--temperature", 0, "--max-tokens", 9).stdout
        self.assertTrue(first.startswith(shorter[:-1]))
        asked = self.summarize("--state", state, "--template", "{document} In short: {summary}", *self.GREEDY).stdout
        told = self.run_program("generate", self.folder / "trained", "--state", state, "--prompt", " In short: ", "--quiet", *self.GREEDY).stdout
        self.assertEqual(asked, told)
        lines = [json.loads(self.summarize(*what, "--json", *self.GREEDY).stdout) for what in ((book,), (book, "--save-state", state), ("--state", state))]
        self.assertEqual(lines[0]["document_tokens"], len(book.read_bytes()) + len("\n\nSummary:\n") + 1)
        self.assertEqual({line["document_tokens"] for line in lines}, {lines[0]["document_tokens"]})
        self.assertEqual(len(self.summarize("--state", state, "--beams", 3, "--min-tokens", 12, "--max-tokens", 12).stdout), 13)
        for arguments, code, message in ((("--state", state, book), 2, "leave out BOOK"), ((), 2, "needs a BOOK"),
                                         ((self.pairs, "--save-state", state), 2, "found 6"),
                                         ((book, "--template", "{summary}"), 2, "{document}"),
                                         ((book, "--template", ""), 2, "{document}"),
                                         ((book, "--length-penalty", 5), 2, "--beams")):
            self.assertIn(message, self.summarize(*arguments, expect=code).stderr)
        self.assertIn("hash of its parameters", self.summarize("--state", state, run="other", expect=3).stderr)
        self.assertIn("/no/such", self.summarize("--state", "/no/such", expect=3).stderr)

    def test_an_error_leaves_what_is_finished(self):
        book, empty, out = self.book("one.txt", "the memory"), self.book("empty.txt", " \n"), self.folder / "earlier.jsonl"
        out.write_text("earlier", encoding="utf-8")
        short = ("--temperature", 0, "--max-tokens", 3)
        self.assertIn("gone.txt: is not there", self.summarize(book, self.folder / "gone.txt", *short, expect=3).stderr)
        self.assertIn("is no file", self.summarize(self.folder, *short, expect=3).stderr)
        expected = self.summarize(book, "--json", *short).stdout
        for ranks in (1, 2):
            result = self.summarize(book, empty, "--out", out, *short, ranks=ranks, expect=3)
            self.assertRegex(result.stderr, rf"error: {f'rank 1 of 2 on {HOST}: ' if ranks > 1 else ''}[^ ]*empty.txt: holds nothing")
            self.assertEqual(out.with_suffix(".partial.jsonl").read_text(encoding="utf-8"), expected)
            out.with_suffix(".partial.jsonl").unlink()
        bad = self.book("bad.jsonl", '{"document": "the memory"}\n{"document": "lost.txt"}\n')
        result = self.summarize(bad, *short, expect=3)
        self.assertRegex(result.stderr, r"bad.jsonl: line 2: the document .*lost.txt cannot be read")
        self.assertTrue(result.stdout.startswith("--- bad@0 ---\n"))
        self.assertIn('"document" is missing', self.summarize(self.book("bad.jsonl", '{"text": "x"}'), expect=3).stderr)
        self.assertIn("no record", self.summarize(self.book("bad.jsonl", "\n"), expect=3).stderr)
        self.assertEqual(out.read_text(encoding="utf-8"), "earlier")

    def test_an_error_is_the_same_over_ranks(self):
        self.run_program("train", self.config("broken"))
        self.edit_checkpoint("broken", 8, lambda name, values: values.fill(float("nan")) if "lm_head" in name or "embed" in name else None)
        books = (self.book("one.txt", "the memory"), self.book("two.txt", "of memory"))
        for ranks in (1, 2):
            self.assertIn("logit", self.summarize(*books, *self.GREEDY, run="broken", ranks=ranks, expect=5).stderr)

    def test_where_nothing_can_be_written_nothing_is_read(self):
        file = self.book("file", "")
        for arguments, message in ((("--out", self.folder), "is a folder"), (("--save-state", self.folder), "is a folder"),
                                   (("--out", file / "x.txt"), "cannot be created"), (("--save-state", file / "x"), "cannot be created"),
                                   (("--out", "/dev/null"), "no regular file")):
            result = self.summarize(self.folder / "long.txt", *arguments, run="no-such-run", expect=4)
            self.assertIn(message, result.stderr)
        for arguments in (("--prompt", "x", "--save-state"), ("--batch", file, "--out")):
            self.assertIn("is a folder", self.run_program("generate", self.folder / "no-such-run", *arguments, self.folder, expect=4).stderr)
        self.summarize(self.folder / "long.txt", "--out", self.folder / "new" / "a.txt", *self.GREEDY)
        self.assertEqual([path.name for path in (self.folder / "new").iterdir()], ["a.txt"])

    def test_partial_results_stay_until_all_are_there(self):
        folder, end = self.folder / "partial", self.book("end.txt", " ")
        books = [self.book(f"{name}.txt", name) for name in ("the", "memory", "over")]
        out, first, second = (folder / f"out{mark}.jsonl" for mark in ("", ".partial", ".partial-2"))
        short = ("--out", out, "--temperature", 0, "--max-tokens", 3)
        self.summarize(*books, end, *short, expect=3)
        three = first.read_text(encoding="utf-8")
        self.assertEqual(three.count("\n"), 3)
        # One with fewer takes nothing away; one that has all of another takes its place.
        self.summarize(books[0], end, *short, expect=3)
        self.assertEqual((first.read_text(encoding="utf-8"), second.read_text(encoding="utf-8")), (three, three[:three.index("\n") + 1]))
        self.summarize(*books[:2], end, *short, expect=3)
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["out.partial-3.jsonl", "out.partial.jsonl"])
        # What the results do not have stays.
        self.summarize(books[0], *short)
        self.assertEqual(first.read_text(encoding="utf-8"), three)
        self.summarize(*books, *short)
        self.assertEqual([path.name for path in folder.iterdir()], ["out.jsonl"])
        self.assertEqual(out.read_text(encoding="utf-8"), three)

    def test_a_killed_process_has_kept_what_was_finished(self):
        one, long, out = self.book("short.txt", "the memory"), self.book("endless.txt", text(150, "book") * 4000), self.folder / "killed.txt"
        process, terminal = self.start_on_terminal("summarize", self.folder / "trained", one, long, "--out", out, *self.GREEDY)
        self.read_until(terminal, r"short.txt: 22 of 22[^$]*reading: \d+ %")
        process.kill()
        process.wait(TIMEOUT)
        self.assertIn("short.txt ---", out.with_suffix(".partial.txt").read_text(encoding="utf-8"))

    def test_interrupt_loses_nothing(self):
        one, long = self.book("short.txt", "the memory"), self.book("endless.txt", text(150, "book") * 4000)
        out, state = self.folder / "stopped.txt", self.folder / "stopped.state"
        process, terminal = self.start_on_terminal("summarize", self.folder / "trained", one, long, "--out", out, *self.GREEDY)
        self.read_until(terminal, r"short.txt: 22 of 22[^$]*reading: \d+ %")
        os.write(terminal, b"\x03")  # Ctrl-C
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertIn("1 of 2 documents", shown)
        self.assertFalse(out.exists())
        self.assertIn("short.txt ---", out.with_suffix(".partial.txt").read_text(encoding="utf-8"))
        process, terminal = self.start_on_terminal("summarize", self.folder / "trained", long, "--save-state", state, *self.GREEDY)
        self.read_until(terminal, r"reading: \d+ %")
        os.write(terminal, b"\x03")
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        with h5py.File(state) as file:
            self.assertGreater(len(file["unread"]), 1)
        self.assertEqual(self.summarize("--state", state, *self.GREEDY).stdout, self.summarize(long, *self.GREEDY).stdout)

    def test_are_measured_while_training_and_change_none_of_its_bits(self):
        summaries = f"{{pairs: {self.pairs}, every: 125, max_pairs: 3, max_tokens: 12, template: '{{document}}\\nSummary:{{summary}}'}}"
        for run, sections in (("plain", {}), ("measured", {"evaluation": {"summaries": summaries}})):
            self.run_program("train", self.config(run, data={"train": self.folder / "pairs.h5"}, train={"steps": 250}, **sections), ranks=2)
        self.assert_same_checkpoint("plain", "measured", 250)
        lines = self.metrics("measured", "rouge")
        self.assertEqual([(line["step"], line["pairs"], line["split"]) for line in lines], [(125, 3, "summaries"), (250, 3, "summaries")])
        self.assertEqual(set(lines[0]["rougeLsum"]), {"recall", "precision", "f1"})
        self.assertRegex((self.folder / "measured" / "train.log").read_text(encoding="utf-8"), r"step 250  summaries: ROUGE-1 0\.\d{4} .*F1 over 3 pairs")
        for measure in ("rouge1", "rougeL"):  # it writes words by then, so that numbers are compared, not zeros
            self.assertGreater(lines[1][measure]["f1"], 0)
        # The same by hand, from the checkpoint.
        template = ("--template", "{document}\\nSummary:{summary}", "--temperature", 0, "--max-tokens", 12, "--threads", 1)
        written = self.summarize(self.pairs, "--json", *template, run="measured").stdout.splitlines(True)[:3]
        three = "".join(self.pairs.read_text(encoding="utf-8").splitlines(True)[:3])
        self.run_program("rouge", self.book("three.jsonl", three), self.book("made.jsonl", "".join(written)), "--json", self.folder / "by-hand.json")
        by_hand = json.loads((self.folder / "by-hand.json").read_text(encoding="utf-8"))
        for measure in ("rouge1", "rougeL"):
            self.assertAlmostEqual(by_hand[measure]["f1"]["mean"], lines[1][measure]["f1"], 9)
        # What was not done before a run ended is done when it resumes.
        metrics = self.folder / "measured" / "metrics.jsonl"
        content = metrics.read_text(encoding="utf-8").splitlines(True)
        self.assertIn('"rouge"', content[-1])
        metrics.write_text("".join(content[:-1]), encoding="utf-8")
        resumed = self.run_program("train", self.folder / "measured.yaml", ranks=2).stdout
        self.assertIn("step 250  summaries:", resumed)
        self.assertEqual(metrics.read_text(encoding="utf-8"), "".join(content))
        self.assertIn("Nothing to do", self.run_program("train", self.folder / "measured.yaml", ranks=2).stdout)
        lost = self.run_program("train", self.folder / "measured.yaml", "--set", "evaluation.summaries.pairs=gone.jsonl", expect=3)
        self.assertIn("gone.jsonl: is not there", lost.stderr)


if __name__ == "__main__":
    unittest.main()

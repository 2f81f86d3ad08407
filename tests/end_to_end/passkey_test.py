"""Training on passkey prompts, and counting the keys that a model finds."""
import json
import signal
import time
import unittest

from harness import SOURCE, TIMEOUT, EndToEndTest


class Passkey(EndToEndTest):
    CONFIG = """\
model:
  hidden_size: 32
  num_layers: 2
  num_heads: 2
  ffn_size: 48
  segment_length: 64
  tie_embeddings: true
  attention: {{kind: infini, memory_update: {update}}}

data:
  kind: passkey
  digits: 2
  advance_at: 0  # the next stage begins at once
  advance_over: 2
  stages:
    - {{segments: 2}}
    - {{segments: 3, virtual_length: 10}}
    - {{segments: 4, virtual_length: 1000}}

train:
  run_directory: {run}
  steps: 8
  batch_size: 4
  sequence_length: 256
  carry_memory: false
  log_every: 1

checkpoint:
  every: 4
"""

    def passkey_config(self, run, update="linear"):
        file = self.folder / f"{run}.yaml"
        file.write_text(self.CONFIG.format(run=self.folder / run, update=update), encoding="utf-8")
        return file

    def test_trains_alike_on_any_number_of_ranks(self):
        for ranks in (1, 2, 4):
            self.run_program("train", self.passkey_config(f"ranks-{ranks}"), ranks=ranks)
        self.run_program("train", self.passkey_config("together"), "--set", "train.sequence_ranks=2", ranks=2)
        reference = self.metrics("ranks-1")
        self.assertEqual([line["position"] for line in reference],
                         ["stage 1 of 3", "stage 2 of 3", "stage 2 of 3", "stage 3 of 3"] + 4 * ["stage 3 of 3"])
        for run in ("ranks-2", "ranks-4", "together"):
            self.assert_close(self.losses("ranks-1"), self.losses(run), 1e-5)
            self.assertEqual([line["position"] for line in reference], [line["position"] for line in self.metrics(run)])
            self.assertEqual(len(reference), len(self.metrics(run)))
            self.assertTrue(all(0 <= line["answer_accuracy"] <= 1 for line in self.metrics(run)))

    def test_resumes_with_the_same_bits(self):
        for update in ("linear", "delta"):
            self.run_program("train", self.passkey_config(f"whole-{update}", update))
            config = self.passkey_config(f"resumed-{update}", update)
            self.run_program("train", config, "--stop-after", 3)
            self.run_program("train", config)
            self.assert_same_checkpoint(f"whole-{update}", f"resumed-{update}", 8)
        shown = self.run_program("inspect", self.folder / "whole-linear").stdout
        self.assertIn("8 batches of passkey prompts read, stage 3 of 3", shown)
        error = self.run_program("train", self.passkey_config("whole-linear"), "--set", "train.steps=9", "data.digits=3", expect=2).stderr
        self.assertIn("digits", error)

    def test_counts_keys_whatever_the_ranks_and_goes_on_after_an_interrupt(self):
        config = self.passkey_config("found")
        self.run_program("train", config)
        cells = ("--lengths", "1k,2000", "--depths", "0,1", "--samples", "3")
        shown = self.run_program("passkey", config, *cells).stdout
        self.assertRegex(shown, r"(?m)^1 k ")
        self.assertRegex(shown, r"(?m)^2000 ")
        result = self.folder / "found" / "evaluation" / "passkey-step-00000008-digits-2.json"
        whole = json.loads(result.read_text(encoding="utf-8"))
        self.assertEqual([(cell["length"], cell["depth"], len(cell["samples"])) for cell in whole["cells"]],
                         [(1024, 0, 3), (1024, 1, 3), (2000, 0, 3), (2000, 1, 3)])
        self.run_program("passkey", config, "--lengths", "1k,1024", "--depths", "0.5", "--samples", "1")  # beside the others
        more = json.loads(result.read_text(encoding="utf-8"))
        self.assertEqual([(cell["length"], cell["depth"]) for cell in more["cells"]],
                         [(1024, 0), (1024, 0.5), (1024, 1), (2000, 0), (2000, 1)])
        self.assertEqual([cell for cell in more["cells"] if cell["depth"] != 0.5], whole["cells"])
        self.run_program("export", config, self.folder / "exported")
        self.assertIn("| 1024 | 0.5 |", (self.folder / "exported" / "README.md").read_text(encoding="utf-8"))
        shared = self.folder / "shared.json"
        self.run_program("passkey", config, *cells, "--json", shared, ranks=2)
        self.assertEqual(json.loads(shared.read_text(encoding="utf-8")), whole)

        stopped = self.folder / "stopped.json"
        long = ("--lengths", "1k,256k", "--depths", "0", "--samples", "3", "--batch-size", "1", "--threads", "1", "--json", stopped)
        process = self.start_program("passkey", config, *long)
        deadline = time.monotonic() + TIMEOUT
        while not stopped.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130, output)
        self.assertIn("the same command goes on", output)
        output = self.run_program("passkey", config, *long).stderr
        self.assertIn("are there already", output)
        again = json.loads(stopped.read_text(encoding="utf-8"))
        self.assertEqual(again["cells"][0]["samples"], whole["cells"][0]["samples"])
        self.assertEqual(len(again["cells"][1]["samples"]), 3)

    def test_hides_a_key_of_ones_own(self):
        config = self.passkey_config("own")
        self.run_program("train", config, "--stop-after", 1)
        shown = self.run_program("passkey", config, "--hide", "314159", "--lengths", "3k", "--depths", "0.5").stdout
        self.assertRegex(shown, r"A text of 3072 tokens. Token 1\d\d\d is followed by: The pass key is 3 ?1 ?4 ?1 ?5 ?9\.")
        self.assertRegex(shown, r"(?m)^What is the pass key\? The pass key is \S")

    def test_hides_a_key_in_a_whole_book(self):
        config = self.passkey_config("book")
        longer = {"digits: 2": "tokenizer: bytes\n  digits: 2", "segments: 2": "segments: 10", "segments: 3": "segments: 12",
                  "segments: 4": "segments: 16", "sequence_length: 256": "sequence_length: 1024"}
        text = config.read_text(encoding="utf-8")
        for short, long in longer.items():
            text = text.replace(short, long)
        config.write_text(text, encoding="utf-8")
        self.run_program("train", config, "--stop-after", 1)
        (self.folder / "shelf").mkdir()
        (self.folder / "shelf" / "book.txt").write_text("Call me Ishmael. " * 300, encoding="utf-8")
        book = self.folder / "book.h5"
        self.run_program("pack", self.folder / "shelf", book)
        shown = self.run_program("passkey", config, "--hide", "27", "--filler", book, "--depths", "0.5").stdout
        # Its bytes, and a begin and an end token.
        self.assertRegex(shown, r"A text of 5102 tokens. Token [23]\d\d\d is followed by:  ?The pass key is 27\.")

    def test_the_model_that_comes_with_the_program_finds_its_key(self):
        run = self.folder / "shipped"
        self.run_program("import", SOURCE / "launch" / "models" / "passkey", run)
        shown = self.run_program("passkey", run, "--hide", "2718", "--lengths", "64k", "--depths", "0").stdout
        self.assertIn("What is the pass key? The pass key is 2 7 1 8\n", shown)

    def test_names_what_is_wrong(self):
        config = self.passkey_config("wrong")
        self.run_program("train", config, "--stop-after", 1)
        for arguments, message in {
                ("--lengths", "32q"): 'no number of tokens: expected one like 5000, 32k or 1m',
                ("--depths", "2"): "not between 0",
                ("--lengths", "20"): "cannot hold",
                ("--filler", self.folder / "train.h5"): "was packed with tokenizer",
                ("--keys", "17"): "keys is 17",
                ("--hide", "12a"): "expected digits",
                ("--hide", ""): "expected digits",
        }.items():
            self.assertIn(message, self.run_program("passkey", config, *arguments, expect=2).stderr)
        other = self.folder / "other.json"
        self.run_program("passkey", config, "--lengths", "1k", "--depths", "0", "--samples", "1", "--json", other)
        error = self.run_program("passkey", config, "--lengths", "1k", "--depths", "0", "--samples", "1", "--seed", "2", "--json", other,
                                 expect=2).stderr
        self.assertIn("another checkpoint or task", error)
        self.run_program("passkey", config, "--lengths", "1k", "--depths", "0", "--samples", "1", "--seed", "2", "--json", other, "--again")
        other.write_text("{", encoding="utf-8")
        self.run_program("passkey", config, "--lengths", "1k", "--json", other, expect=3)


if __name__ == "__main__":
    unittest.main()

"""Generation that is put aside and taken up again, many prompts at once, and asking a model at a terminal."""
import json
import os
import re
import signal
import unittest

import h5py

from harness import TIMEOUT, EndToEndTest, text


class TrainedModel(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trained = cls()
        for run, kind in (("trained", "{kind: infini}"), ("other", "{kind: infini}"), ("full", "{kind: full}")):
            sections = {"model": {"attention": kind}, "train": {"carry_memory": "false"}}
            trained.run_program("train", trained.config(run, **sections), "--set", f"train.seed={len(run)}", "--set", "train.steps=60")

    def generate(self, *arguments, run="trained", **options):
        return self.run_program("generate", self.folder / run, *arguments, **options)

    def book(self, characters):
        file = self.folder / f"book-{characters}.txt"
        file.write_text(text(150, "book") * (characters // 150), encoding="utf-8")
        return file


class State(TrainedModel):
    def test_going_on_is_never_having_stopped(self):
        state = self.folder / "state.h5"
        for run in ("trained", "full"):
            for prompt in (("--prompt", "the mem"), ("--prompt-file", self.book(1500)), ()):
                options = ("--seed", 3, "--temperature", 0.9, "--repetition-penalty", 1.1, "--quiet")
                whole = self.generate(*prompt, *options, "--max-tokens", 200, run=run).stdout
                first = self.generate(*prompt, *options, "--max-tokens", 100, "--save-state", state, run=run)
                self.assertIn(f": {state}", first.stderr)
                second = self.generate(*options, "--max-tokens", 100, "--state", state, run=run).stdout
                self.assertEqual(first.stdout[:-1] + second, whole, prompt)

    def test_a_further_prompt_follows_what_was_read(self):
        state, book = self.folder / "read.h5", self.book(1500)
        self.generate("--prompt-file", book, "--max-tokens", 0, "--save-state", state)
        size = state.stat().st_size
        greedy = ("--temperature", 0, "--quiet")
        answers = [self.generate("--state", state, "--prompt", "written", *greedy).stdout for _ in range(2)]
        self.assertEqual(len(set(answers)), 1)
        self.generate("--prompt", "the", "--max-tokens", 0, "--save-state", state)
        self.assertEqual(state.stat().st_size, size)

    def test_of_another_model_or_damaged_is_refused(self):
        state = self.folder / "mine.h5"
        self.generate("--prompt", "the", "--max-tokens", 3, "--save-state", state)
        for run, what in (("other", "hash of its parameters"), ("full", "attention.kind: infini there")):
            error = self.generate("--state", state, run=run, expect=3).stderr
            self.assertIn(what, error)
            self.assertIn(str(state), error)
        content = state.read_bytes()
        state.write_bytes(content[: len(content) // 2])
        self.assertIn(str(state), self.generate("--state", state, expect=3).stderr)
        state.write_bytes(content)
        with h5py.File(state, "r+") as file:
            file["tensors/state.layers.0.norm"][...] += 1
        self.assertIn("is damaged", self.generate("--state", state, expect=3).stderr)
        self.assertIn("/no/such", self.generate("--save-state", "/no/such/file", "--max-tokens", 1, expect=4).stderr)

    def test_interrupt_keeps_the_state(self):
        state = self.folder / "interrupted.h5"
        options = ("--temperature", 0, "--quiet")  # the likeliest token is never the end
        process, terminal = self.start_on_terminal("generate", self.folder / "trained", *options, "--prompt", "the memory",
                                                   "--max-tokens", 10_000_000, "--save-state", state)
        self.read_until(terminal, r"(?s).{400}")
        os.write(terminal, b"\x03")  # Ctrl-C
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertIn("Stopped by SIGINT", shown)
        with h5py.File(state) as file:
            drawn = int(file.attrs["draws"])
        whole = self.generate(*options, "--prompt", "the memory", "--max-tokens", drawn + 50).stdout
        rest = self.generate(*options, "--max-tokens", 50, "--state", state).stdout
        self.assertTrue(whole.endswith(rest), rest)

    def test_interrupt_while_reading_goes_on_reading(self):
        state, book = self.folder / "reading.h5", self.book(600_000)
        options = ("--temperature", 0, "--quiet", "--max-tokens", 30)
        process, terminal = self.start_on_terminal("generate", self.folder / "trained", *options, "--prompt-file", book,
                                                   "--save-state", state)
        self.read_until(terminal, r"reading: [1-9]\d* of")
        os.write(terminal, b"\x03")
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertIn("of the prompt still to be read", shown)
        expected = self.generate(*options, "--prompt-file", book).stdout
        self.assertEqual(self.generate(*options, "--state", state).stdout, expected)


class Sampling(TrainedModel):
    def test_stop_strings_end_the_text_before_them(self):
        options = ("--prompt", "the memory", "--seed", 5, "--max-tokens", 150, "--quiet")
        whole = self.generate(*options).stdout
        stop = whole[40:44]
        stopped = self.generate(*options, "--stop", "never to be found", "--stop", stop)
        self.assertEqual(stopped.stdout, whole[: whole.index(stop)] + "\n")
        self.assertIn("ended by a stop string", stopped.stderr)

    def test_options_out_of_range_are_named(self):
        for option, value in (("--min-p", 2), ("--repetition-penalty", 0), ("--stop", "")):
            self.assertIn(option, self.generate(option, value, expect=2).stderr)


if __name__ == "__main__":
    unittest.main()

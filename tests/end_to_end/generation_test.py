"""Generation that is put aside and taken up again, many prompts at once, and asking a model at a terminal."""
import json
import os
import re
import signal
import time
import unittest

import h5py

from harness import SOURCE, TIMEOUT, EndToEndTest, text


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


class Shipped(EndToEndTest):
    def test_the_model_that_has_read_books_knows_english(self):
        run, page = self.folder / "shipped", self.folder / "page.txt"
        self.run_program("import", SOURCE / "launch" / "models" / "books", run)
        page.write_text("""The old man sat down by the fire and said nothing for a long time. At last he turned to his daughter, and asked her
whether she had written to her brother. She answered that she had not, for she did not know where he was. "Then we must
wait," said he, "until he comes home." The night was cold, and the wind blew from the sea; but in the little room it was
warm, and the child was asleep in the corner.
""", encoding="utf-8")
        result = self.folder / "page.json"
        self.run_program("eval", run, page, "--json", result)
        self.assertLess(json.loads(result.read_text(encoding="utf-8"))["total"]["bits_per_byte"], 2.3)  # of all pieces alike: 3.1
        written = self.run_program("generate", run, "--prompt", "It was a dark", "--temperature", 0, "--max-tokens", 20).stdout
        self.assertRegex(written, r"^It was a dark(-[a-z]+)?,?(\s[a-z]+[,;]?){3}")


class State(TrainedModel):
    def test_going_on_is_never_having_stopped(self):
        state = self.folder / "state.h5"
        for run in ("trained", "full"):
            for prompt in (("--prompt", "the mem"), ("--prompt-file", self.book(1500)), ()):
                options = ("--seed", 3, "--temperature", 0.9, "--repetition-penalty", 1.1, "--no-repeat-ngram", 7, "--quiet")
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
        self.read_until(terminal, r"reading: \d+ %")
        os.write(terminal, b"\x03")
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertIn("of the prompt still to be read", shown)
        expected = self.generate(*options, "--prompt-file", book).stdout
        self.assertEqual(self.generate(*options, "--state", state).stdout, expected)


class Batch(TrainedModel):
    def prompts(self, name, lines):
        file = self.folder / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    def test_a_prompt_in_a_batch_gives_what_it_gives_alone(self):
        prompts = ["the memory", "of é written", "palimpsest " * 30, "a", "over again"]
        options = ("--temperature", 0.8, "--repetition-penalty", 1.1, "--min-p", 0.02)
        file = self.prompts("prompts.jsonl", [json.dumps({"prompt": prompt, "id": f"p{i}", "seed": i + 1} | ({"max_tokens": 9} if i == 3 else {}))
                                              for i, prompt in enumerate(prompts)])
        output = self.generate("--batch", file, "--lanes", 3, "--log-probabilities", "--max-tokens", 60, *options).stdout
        results = [json.loads(line) for line in output.splitlines()]
        self.assertEqual([result["id"] for result in results], ["p0", "p1", "p2", "p3", "p4"])
        for i, (prompt, result) in enumerate(zip(prompts, results)):
            alone = self.generate("--prompt", prompt, "--seed", i + 1, "--quiet", *options, "--max-tokens", 9 if i == 3 else 60).stdout
            self.assertEqual(result["text"] + "\n", alone)
            self.assertEqual(result["prompt"], prompt)
            self.assertEqual(len(result["log_probabilities"]), result["tokens"])
            self.assertTrue(all(value <= 0 for value in result["log_probabilities"]))
            self.assertEqual(result["prompt_tokens"], len(prompt.encode()) + 1)

    def test_text_lines_to_a_file(self):
        file, out = self.prompts("prompts.txt", ["the", "", "of"]), self.folder / "out.jsonl"
        self.assertEqual(self.generate("--batch", file, "--out", out, "--max-tokens", 5).stdout, "")
        results = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([(result["id"], result["prompt"]) for result in results], [(1, "the"), (3, "of")])
        self.assertEqual(self.generate("--batch", self.prompts("none.txt", []), "--out", out, "--max-tokens", 5).stdout, "")
        self.assertEqual(out.read_text(encoding="utf-8"), "")

    def test_bad_lines_are_named_and_leave_earlier_results(self):
        out = self.folder / "earlier.jsonl"
        out.write_text("earlier", encoding="utf-8")
        file = self.prompts("bad.jsonl", ['{"prompt": "a"}', '{"promt": "b"}'])
        self.assertIn("bad.jsonl:2: ", self.generate("--batch", file, "--out", out, expect=3).stderr)
        self.assertEqual(out.read_text(encoding="utf-8"), "earlier")
        self.assertIn("--batch", self.generate("--batch", file, "--prompt", "x", expect=2).stderr)
        self.assertIn("--batch", self.generate("--out", out, "--prompt", "x", expect=2).stderr)

    def test_interrupt_leaves_the_finished_ones_beside_an_earlier_result(self):
        out = self.folder / "stopped.jsonl"
        out.write_text("earlier", encoding="utf-8")
        lines = [json.dumps({"prompt": "the", "max_tokens": 3 if i < 2 else 10_000_000}) for i in range(4)]
        process, terminal = self.start_on_terminal("generate", self.folder / "trained", "--batch", self.prompts("long.jsonl", lines),
                                                   "--out", out, "--lanes", 4, "--temperature", 0)
        self.read_until(terminal, "2 of 4 prompts")
        os.write(terminal, b"\x03")
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertEqual(out.read_text(encoding="utf-8"), "earlier")
        partial = [json.loads(line) for line in out.with_suffix(".partial.jsonl").read_text(encoding="utf-8").splitlines()]
        self.assertEqual([result["id"] for result in partial], [1, 2])

    def test_a_killed_process_has_kept_the_finished_ones(self):
        out = self.folder / "killed.jsonl"
        lines = [json.dumps({"prompt": "the", "max_tokens": 3 if i > 0 else 10_000_000}) for i in range(3)]
        process, terminal = self.start_on_terminal("generate", self.folder / "trained", "--batch", self.prompts("endless.jsonl", lines),
                                                   "--out", out, "--lanes", 2, "--temperature", 0)
        self.read_until(terminal, "2 of 3 prompts")
        partial = out.with_suffix(".partial.jsonl")
        for _ in range(100 * TIMEOUT):
            if partial.exists() and partial.read_text(encoding="utf-8").count("\n") == 2:
                break
            time.sleep(0.01)
        process.kill()
        process.wait(TIMEOUT)
        self.assertEqual([json.loads(line)["id"] for line in partial.read_text(encoding="utf-8").splitlines()], [2, 3])


class Sampling(TrainedModel):
    def test_stop_strings_end_the_text_before_them(self):
        options = ("--prompt", "the memory", "--seed", 5, "--max-tokens", 150, "--quiet")
        whole = self.generate(*options).stdout
        stop = whole[40:44]
        stopped = self.generate(*options, "--stop", "never to be found", "--stop", stop)
        self.assertEqual(stopped.stdout, whole[: whole.index(stop)] + "\n")
        self.assertIn("ended by a stop string", stopped.stderr)

    def test_options_out_of_range_are_named(self):
        for option, value in (("--min-p", 2), ("--repetition-penalty", 0), ("--stop", ""), ("--no-repeat-ngram", -1), ("--beams", 0),
                              ("--length-penalty", -1)):
            self.assertIn(option, self.generate(option, value, expect=2).stderr)

    def test_beams_and_what_cannot_go_with_them(self):
        options = ("--prompt", "the memory", "--quiet", "--max-tokens", 40, "--no-repeat-ngram", 12, "--min-tokens", 40)
        found = self.generate(*options, "--beams", 3).stdout
        self.assertEqual(len(found.encode()), 41)
        self.assertEqual(self.generate(*options, "--beams", 3, "--seed", 9).stdout, found)
        asked = self.run_program("chat", self.folder / "trained", *options[3:], "--beams", 3, stdin="the memory\n").stdout
        self.assertEqual(asked, found)
        state = self.folder / "beams.h5"
        self.assertIn("--max-tokens 0", self.generate(*options, "--beams", 3, "--save-state", state, expect=2).stderr)
        self.assertFalse(state.exists())
        for more in (("--temperature", 0.5), ("--batch", self.book(150))):
            self.assertIn("--beams is 3", self.generate("--beams", 3, *more, expect=2).stderr)


class Chat(TrainedModel):
    OPTIONS = ("--temperature", 0.8, "--seed", 6)

    def chat(self, *arguments, lines, tokens=40, **options):
        return self.run_program("chat", self.folder / "trained", *self.OPTIONS, "--max-tokens", tokens, *arguments, stdin="".join(f"{line}\n" for line in lines), **options)

    def test_lines_of_standard_input_are_questions_and_commands(self):
        book, state = self.book(1500), self.folder / "chat.h5"
        one, two = "written over", "the palimpsest"
        once = self.chat("--read", book, lines=[one]).stdout
        other = self.chat("--read", book, lines=[two]).stdout
        self.assertEqual(self.chat("--read", book, lines=[one, "", two, one]).stdout, once + other + once)
        # What generate makes of the same text: its prompt is read in one piece, so that some bits may differ.
        self.generate("--prompt-file", book, "--max-tokens", 0, "--save-state", state)
        self.assertEqual(self.generate("--state", state, "--prompt", one, "--quiet", "--max-tokens", 40, *self.OPTIONS).stdout, once)
        self.assertEqual(self.chat("--state", state, lines=[one]).stdout, once)
        following = self.chat("--state", state, "--follow", lines=[one, two]).stdout
        self.assertTrue(following.startswith(once))
        self.assertNotEqual(following, once + other)
        self.assertEqual(self.chat("--state", state, lines=["/follow", one, two, "/undo", two, "/reset", one, "/afresh", two]).stdout,
                         following + following[len(once):] + once + other)
        saved = self.folder / "saved.h5"
        result = self.chat("--state", state, lines=["/follow", one, f"/save {saved}", "/quit", one])
        self.assertEqual(result.stdout, once)
        self.assertIn(f": {saved}", result.stderr)
        self.assertEqual(self.chat("--state", saved, lines=[two]).stdout, following[len(once):])

    def test_continue_goes_on_with_the_answer(self):
        whole = self.chat(lines=["the"], tokens=80).stdout
        parts = self.chat(lines=["the", "/continue"]).stdout
        self.assertEqual(parts[:-1].replace("\n", ""), whole[:-1].replace("\n", ""))

    def test_text_around_questions_and_questions_with_a_slash(self):
        plain = self.chat(lines=["Q: /x A:"]).stdout
        self.assertEqual(self.chat("--before", "Q: ", "--after", " A:", lines=["//x"]).stdout, plain)

    def test_errors_end_a_script(self):
        self.assertIn("did you mean /undo?", self.chat(lines=["/udno"], expect=2).stderr)
        self.assertIn("/no/such", self.chat(lines=["/save /no/such/file"], expect=4).stderr)
        self.assertIn("name of a file", self.chat(lines=["/save"], expect=2).stderr)
        self.assertIn("standard input", self.chat("--read", "-", lines=[], expect=2).stderr)

    def start_chat(self, *arguments, tokens=40, temperature=0):
        process, terminal = self.start_on_terminal("chat", self.folder / "trained", "--temperature", temperature, "--max-tokens", tokens, *arguments)
        return process, terminal

    def leave(self, process, terminal, key, expect=0):
        os.write(terminal, key)
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), expect, shown)

    def test_a_terminal_has_line_editing_and_a_history(self):
        answer = self.run_program("chat", self.folder / "trained", "--temperature", 0, "--max-tokens", 40, stdin="the memory\n").stdout.strip()[:20]
        process, terminal = self.start_chat()
        self.read_until(terminal, r"/help lists[\s\S]*> ")
        os.write(terminal, b"thx memory" + b"\x1b[D" * 7 + b"\x7fe" + b"\r")  # seven to the left, and the x replaced
        shown = self.read_until(terminal, re.escape("continue goes on") + r"[\s\S]*> ")
        self.assertIn(answer, shown)
        os.write(terminal, b"\x1b[A\r")  # the line before
        self.assertIn(answer, self.read_until(terminal, re.escape("continue goes on") + r"[\s\S]*> "))
        os.write(terminal, "/save \u00e9\x7f\r".encode())
        self.read_until(terminal, r"needs the name of a file[\s\S]*> ")
        self.leave(process, terminal, b"\x04")  # Ctrl-D

    def test_interrupt_stops_an_answer_and_leaves_at_the_prompt(self):
        state = self.folder / "answer.h5"
        process, terminal = self.start_chat("--follow", tokens=10_000_000)
        self.read_until(terminal, r"/help lists[\s\S]*> ")
        os.write(terminal, b"the memory\r")
        self.read_until(terminal, r"the memory\s[\s\S]*[a-z]{2,} [a-z]")
        os.write(terminal, b"\x03")
        self.read_until(terminal, r"stopped; /continue goes on[\s\S]*> ")
        os.write(terminal, f"/save {state}\r".encode())
        self.read_until(terminal, r"State after \d+ tokens[\s\S]*> ")
        with h5py.File(state) as file:
            self.assertGreater(file.attrs["draws"], 0)
        self.leave(process, terminal, b"\x03")

    def test_interrupt_while_reading_loses_nothing(self):
        book, state = self.book(600_000), self.folder / "half.h5"
        process, terminal = self.start_chat("--read", book)
        self.read_until(terminal, r"reading: \d+ %")
        os.write(terminal, b"\x03")
        self.read_until(terminal, r"still to be read[\s\S]*> ")
        os.write(terminal, f"/save {state}\r".encode())
        self.read_until(terminal, r"State after \d+ tokens[\s\S]*> ")
        self.leave(process, terminal, b"\x03")
        self.assertEqual(self.chat("--state", state, lines=["the"]).stdout, self.chat("--read", book, lines=["the"]).stdout)

    def test_other_signals_end_it(self):
        process, terminal = self.start_chat()
        self.read_until(terminal, r"/help lists[\s\S]*> ")
        process.send_signal(signal.SIGTERM)
        self.leave(process, terminal, b"", expect=143)


if __name__ == "__main__":
    unittest.main()

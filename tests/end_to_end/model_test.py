"""Evaluation, generation and inspection of a trained model with real processes."""
import json
import unittest

from harness import EndToEndTest


class TrainedModel(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls()
        cls.trained.config("trained")
        cls.trained.run_program("train", cls.folder / "trained.yaml")

    def evaluate(self, *arguments, ranks=1):
        result = self.folder / "result.json"
        output = self.run_program("eval", *arguments, "--json", result, ranks=ranks).stdout
        self.assertIn("word perplexity", output)
        return json.loads(result.read_text(encoding="utf-8"))


class Evaluate(TrainedModel):
    def test_independent_of_ranks_and_lanes(self):
        reference = self.evaluate(self.folder / "trained", "--batch-size", 1)
        files = sorted((self.folder / "corpus" / "test").glob("*.txt"))
        self.assertEqual(reference["total"]["bytes"], sum(file.stat().st_size for file in files))
        self.assertEqual(reference["total"]["tokens"], reference["total"]["bytes"])  # the tokenizer is bytes
        self.assertEqual(reference["total"]["words"], sum(len(file.read_text().split()) for file in files))
        self.assertEqual(len(reference["documents"]), 4)
        for ranks, lanes in ((1, 3), (2, 1), (2, 8), (4, 2)):
            other = self.evaluate(self.folder / "trained", "--batch-size", lanes, ranks=ranks)
            for a, b in zip(reference["documents"], other["documents"]):
                self.assertEqual(a["name"], b["name"])
                self.assert_close([a["negative_log_likelihood"]], [b["negative_log_likelihood"]], 1e-4)
            self.assert_close([reference["total"]["word_perplexity"]], [other["total"]["word_perplexity"]], 1e-3)

    def test_model_by_configuration_run_directory_or_checkpoint(self):
        totals = [self.evaluate(model, "--split", "validation")["total"]["negative_log_likelihood"]
                  for model in (self.folder / "trained.yaml", self.folder / "trained", self.checkpoint("trained", 8))]
        self.assertEqual(len(set(totals)), 1)
        training = self.metrics("trained", "evaluation")[-1]
        self.assert_close(totals[:1], [training["negative_log_likelihood"]], 1e-4)

    def test_result_goes_to_the_run_directory(self):
        self.run_program("eval", self.folder / "trained", "--data", self.folder / "validation.h5")
        self.assertTrue((self.folder / "trained" / "evaluation" / "validation-step-00000008.json").exists())

    def test_damaged_checkpoint_is_not_used(self):
        self.run_program("train", self.config("damaged"))
        file = next(self.checkpoint("damaged", 8).glob("*.h5"))
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        error = self.run_program("eval", self.folder / "damaged", expect=3).stderr
        self.assertIn(file.name, error)


class Generate(TrainedModel):
    def generate(self, *arguments, **options):
        return self.run_program("generate", self.folder / "trained", "--max-tokens", 40, *arguments, **options)

    def test_seed_fixes_the_text(self):
        first, second = (self.generate("--prompt", "the memory", "--seed", 3).stdout for _ in range(2))
        self.assertEqual(first, second)
        self.assertTrue(first.startswith("the memory"))
        self.assertNotEqual(first, self.generate("--prompt", "the memory", "--seed", 4).stdout)

    def test_prompt_from_option_file_and_standard_input(self):
        prompt = "palimpsest written over " * 5
        file = self.folder / "prompt.txt"
        file.write_text(prompt, encoding="utf-8")
        greedy = ("--temperature", 0, "--quiet")
        results = [self.generate("--prompt", prompt, *greedy), self.generate("--prompt-file", file, *greedy),
                   self.generate("--prompt-file", "-", *greedy, stdin=prompt)]
        self.assertEqual(len({result.stdout for result in results}), 1)
        self.assertIn("tokens/s", results[0].stderr)
        self.assertIn(f"{len(prompt) + 1} prompt tokens", results[0].stderr)

    def test_what_cannot_work_is_said(self):
        self.assertIn("--top-p is 2", self.generate("--top-p", 2, expect=2).stderr)
        self.assertIn("/no/such", self.generate("--prompt-file", "/no/such", expect=3).stderr)
        self.assertIn("expected a checkpoint", self.run_program("generate", "/no/such", expect=3).stderr)


class SentencePiece(EndToEndTest):
    def test_checkpoint_needs_no_other_file(self):
        model = self.folder / "words.model"
        corpus = self.folder / "corpus" / "train"
        self.run_program("tokenizer", "train", corpus, model, "--vocab-size", 280)
        self.run_program("pack", corpus, self.folder / "pieces.h5", "--tokenizer", model)
        config = self.config("pieces", data={"train": self.folder / "pieces.h5", "validation": '""'})
        self.run_program("train", config)
        for file in (model, self.folder / "pieces.h5", config):
            file.unlink()
        text = self.run_program("generate", self.folder / "pieces", "--prompt", "the memory", "--max-tokens", 30,
                                "--temperature", 0).stdout
        self.assertTrue(text.startswith("the memory"), text)
        shown = json.loads(self.run_program("inspect", self.folder / "pieces", "--json").stdout)
        self.assertRegex(shown["state"]["tokenizer"], "^sentencepiece:")
        error = self.run_program("eval", self.folder / "pieces", "--data", self.folder / "test.h5", expect=3).stderr
        self.assertIn("was packed with tokenizer bytes", error)


class Inspect(TrainedModel):
    def test_text_and_json(self):
        text = self.run_program("inspect", self.folder / "trained").stdout
        # layers x kv_heads x (d^2 + d) with d = 32 / 4
        for expected in ("step        8 of 8", "attention   infini, keeps 288 numbers a sequence",
                         "layers.1.self_attn.memory_gate", "head 3", "hidden_size: 32", "verified"):
            self.assertIn(expected, text)
        shown = json.loads(self.run_program("inspect", self.folder / "trained", "--json").stdout)
        self.assertEqual(shown["step"], 8)
        self.assertEqual(shown["keeps"], "288 numbers a sequence")
        self.assertEqual([len(heads) for heads in shown["gates"]], [4, 4])
        self.assertEqual(shown["state"]["tokenizer"], "bytes")


if __name__ == "__main__":
    unittest.main()

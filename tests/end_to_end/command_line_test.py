"""What the program answers to a command line: help, versions, misspelt names."""
import unittest

from harness import EndToEndTest

COMMANDS = ("train", "eval", "compare", "generate", "chat", "inspect", "pack", "tokenizer", "bench", "report",
            "rouge", "measure",
            "index", "search")


class CommandLine(EndToEndTest):
    def test_help_has_examples_and_exit_codes(self):
        overview = self.run_program("--help").stdout
        for command in COMMANDS:
            self.assertIn(command, overview)
            text = self.run_program(command, "--help").stdout
            self.assertIn("Examples:", text)
            self.assertIn(f"palimpsest {command} ", text)
            self.assertIn("Exit codes:", text)

    def test_help_is_printed_by_one_rank(self):
        self.assertEqual(self.run_program("train", "--help", ranks=2).stdout.count("Examples:"), 1)

    def test_version(self):
        self.assertRegex(self.run_program("--version").stdout, r"^palimpsest \d+\.\d+\.\d+\n$")

    def expect_error(self, expected, *arguments, expect=2):
        error = self.run_program(*arguments, expect=expect).stderr
        self.assertIn(expected, error)
        self.assertEqual(error.count("\n"), 1, error)
        self.assertTrue(error.startswith("palimpsest: error: "), error)

    def test_unknown_names_are_answered_with_the_nearest(self):
        self.expect_error("did you mean train?", "trian", "x.yaml")
        self.expect_error("did you mean --stop-after?", "train", "x.yaml", "--stop-afer", 3)
        self.expect_error("did you mean --split?", "eval", "run", "--spilt=test")
        self.expect_error("did you mean --type?", "tokenizer", "train", "corpus", "model", "--tpye=bpe")
        self.expect_error("expected one of train, eval")

    def test_missing_and_wrong_values(self):
        self.expect_error("CONFIG is required", "train")
        for value in ("soon", 0, -3, "1e3", "99999999999999999999"):
            self.expect_error("whole number of at least 1", "train", "x.yaml", f"--stop-after={value}")
        self.expect_error("/no/such.yaml", "train", "/no/such.yaml", expect=3)

    def test_misspelt_key_is_named_with_its_line(self):
        config = self.config("misspelt")
        content = config.read_text(encoding="utf-8").replace("hidden_size", "hiden_size")
        config.write_text(content, encoding="utf-8")
        self.expect_error("hidden_size", "train", config)
        self.expect_error(":2", "train", config)
        self.expect_error("did you mean steps?", "train", self.config("override"), "--set", "train.step=3")


if __name__ == "__main__":
    unittest.main()

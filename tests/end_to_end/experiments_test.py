"""The scripts of launch/experiments: their rows train, go on, are measured and compared."""
import subprocess
import unittest

from harness import SOURCE, EndToEndTest, environment

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


if __name__ == "__main__":
    unittest.main()

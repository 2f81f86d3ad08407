"""A checkpoint of version 2, as earlier programs wrote it: two ranks, four lanes whose memory was carried, AdamW.

data/checkpoint-version-2.tar.xz holds it (step 2 of 4) with its configuration and token files, and what the program that
wrote it went on to: its losses and validation results."""
import json
import tarfile
import unittest

import numpy

from harness import SOURCE, EndToEndTest


class Version2(EndToEndTest):
    def setUp(self):
        with tarfile.open(SOURCE / "tests" / "end_to_end" / "data" / "checkpoint-version-2.tar.xz") as archive:
            archive.extractall(self.folder / self.id())
        self.old = self.folder / self.id()
        self.expected = json.loads((self.old / "expected.json").read_text(encoding="utf-8"))
        self.settings = ("--set", f"data.train={self.old}/train.h5", f"data.validation={self.old}/validation.h5",
                         f"train.run_directory={self.old}/run")

    def evaluate(self, step):
        self.run_program("eval", self.old / "run", "--step", step, "--data", self.old / "validation.h5", "--json", self.old / "eval.json")
        return json.loads((self.old / "eval.json").read_text(encoding="utf-8"))["total"]["negative_log_likelihood"]

    def test_is_evaluated(self):
        self.assert_close([self.evaluate(2)], [self.expected["validation_nll"]["2"]], 1e-5)

    def test_is_resumed(self):
        for ranks, name in ((2, "run"), (1, "alone")):
            if name != "run":  # once more, shared otherwise
                (self.old / "run").rename(self.old / "two-ranks")
                (self.old / "run" / "checkpoints").mkdir(parents=True)
                (self.old / "two-ranks" / "checkpoints" / "step-00000002").rename(self.old / "run" / "checkpoints" / "step-00000002")
            output = self.run_program("train", self.old / "config.yaml", *self.settings, "checkpoint.keep_last=0", ranks=ranks).stdout
            self.assertIn("Resuming from", output)
            lines = [json.loads(line) for line in (self.old / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
            steps = [line for line in lines if line["kind"] == "step"]
            self.assertEqual([line["step"] for line in steps], [3, 4])
            self.assertEqual([line["tokens"] for line in steps], [240, 320])
            for key, values in (("loss", "losses"), ("gradient_norm", "gradient_norms")):
                self.assert_close([line[key] for line in steps], [self.expected[values][step] for step in ("3", "4")], 1e-5)
            self.assert_close([self.evaluate(4)], [self.expected["validation_nll"]["4"]], 1e-5)

    def test_parameters_and_optimizer_are_read_bit_for_bit(self):
        """A step that all ranks skip, because a memory is not finite, changes neither: the next checkpoint has the same bits."""
        run = f"{self.id()}/run"

        def spoil(name, values):
            if name == "memory/lane-00003/layers.1/matrix":
                values[:] = numpy.inf
        self.edit_checkpoint(run, 2, spoil)
        output = self.run_program("train", self.old / "config.yaml", *self.settings, "checkpoint.keep_last=0", "--stop-after", 3,
                                  ranks=2).stdout
        self.assertIn("the memory of lane 3, layers.1.matrix; step skipped", output)
        old, new = self.tensors(run, 2), self.tensors(run, 3)
        kept = [name for name in old if not name.startswith("memory/")]
        self.assertGreater(len(kept), 40)
        self.assertEqual([name for name in kept if new[name] != old[name]], [])
        self.assertEqual(set(new) - set(kept), {f"state/layers.{layer}.{name}" for layer in range(2) for name in ("matrix", "norm")})
        self.assertEqual([self.manifest(run, step)["version"] for step in (2, 3)], [2, 3])
        self.assertEqual(self.manifest(run, 3)["training_state"]["optimizer"]["step"], 2)


if __name__ == "__main__":
    unittest.main()

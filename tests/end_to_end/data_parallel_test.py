"""Ranks that share a batch compute what one process computes, however their gradients travel."""
import subprocess
import unittest

from harness import PROGRAM, TIMEOUT, EndToEndTest, environment, job

OLD = "DNNL_MAX_CPU_ISA=AVX2"  # as if on a machine without bfloat16 instructions
TRAIN = {"batch_size": 8, "sequence_length": 32, "steps": 4}


class DataParallel(EndToEndTest):
    def train(self, name, ranks, train=None, **sections):
        self.run_program("train", self.config(name, train=TRAIN | (train or {}), **sections), ranks=ranks)
        return self.losses(name)

    def test_the_same_losses_on_any_number_of_ranks(self):
        expected = self.train("one", 1)
        for ranks in (2, 4, 8):
            self.assert_close(expected, self.train(f"ranks-{ranks}", ranks), 1e-6)

    def test_how_gradients_travel_changes_no_bit(self):
        for recompute in ("cheap", "block", "segment"):
            expected = self.train(recompute, 2, {"recompute": recompute, "overlap_gradients": "false"})
            for index, settings in enumerate(({}, {"gradient_bucket": 0.001})):
                name = f"{recompute}-{index}"
                self.assertEqual(expected, self.train(name, 2, settings | {"recompute": recompute}), name)
                self.assertEqual(self.tensors(recompute, 4), self.tensors(name, 4), name)

    def test_micro_batches(self):
        self.assert_close(self.train("whole", 2), self.train("micro", 2, {"micro_batch_size": 2}), 1e-6)

    def test_a_sharded_optimizer_changes_no_bit_and_resumes_anywhere(self):
        sharded = {"sharded": "true"}
        whole, parts = self.train("whole-state", 4), self.train("parts", 4, optimizer=sharded)
        self.assertEqual(whole, parts)
        self.assertEqual(self.tensors("whole-state", 4).keys() - self.tensors("parts", 4).keys(), set())
        # Two steps sharded on four ranks, the rest sharded on two and whole on one, and the other way round.
        for first, second in (((4, sharded), (2, sharded)), ((4, sharded), (1, {})), ((2, {}), (4, sharded))):
            name = f"from-{first[0]}-{len(first[1])}-to-{second[0]}-{len(second[1])}"
            self.run_program("train", self.config(name, train=TRAIN, optimizer=first[1]), "--stop-after", 2,
                             ranks=first[0])
            resumed = self.run_program("train", self.config(name, train=TRAIN, optimizer=second[1]), ranks=second[0])
            self.assertIn("Resuming from", resumed.stdout)
            self.assert_close(whole, self.losses(name), 1e-6)

    def test_adafactor_cannot_be_sharded(self):
        config = self.config("adafactor", train=TRAIN, optimizer={"kind": "adafactor", "sharded": "true"})
        result = self.run_program("train", config, ranks=2, expect=2)
        self.assertIn("optimizer.sharded true needs optimizer.kind adamw, found adafactor", result.stderr)

    def test_gradients_in_bfloat16(self):
        expected, rounded = self.train("float32-wire", 2), self.train("bfloat16-wire", 2, {"gradient_wire": "bfloat16"})
        self.assertNotEqual(expected, rounded)
        self.assert_close(expected, rounded, 1e-3)

    def test_a_machine_without_bfloat16_makes_all_ranks_compute_in_float32(self):
        expected = self.train("float32", 2)
        for name, environments in {"first": ([OLD], []), "second": ([], [OLD])}.items():
            config = self.config(name, train=TRAIN | {"precision": "bfloat16"})
            lines = [["env", *settings, PROGRAM, "train", config] for settings in environments]
            result = subprocess.run(job(*lines), capture_output=True, text=True, env=environment(), timeout=TIMEOUT)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("bfloat16 products: computing in float32", result.stdout + result.stderr)
            self.assert_close(expected, self.losses(name), 1e-5)


if __name__ == "__main__":
    unittest.main()

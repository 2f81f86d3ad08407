"""Ranks that share a batch compute what one process computes, however their gradients travel."""
import unittest

from harness import EndToEndTest

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

    def test_gradients_in_bfloat16(self):
        expected, rounded = self.train("float32-wire", 2), self.train("bfloat16-wire", 2, {"gradient_wire": "bfloat16"})
        self.assertNotEqual(expected, rounded)
        self.assert_close(expected, rounded, 1e-3)


if __name__ == "__main__":
    unittest.main()

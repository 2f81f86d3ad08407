"""Kinds of attention beside Infini-attention: trained, resumed, on several ranks, evaluated, decoded and refused."""
import subprocess
import unittest

from harness import PROGRAM, TIMEOUT, EndToEndTest, environment

# What a sequence keeps: 2 layers, 2 key/value heads of 8, hidden size 32.
KINDS = {
    "{kind: local}": "nothing",
    "{kind: transformer_xl, cache_length: 20}": f"{2 * 20 * 2 * 2 * 8} numbers a sequence",
    "{kind: transformer_xl, cache_gradient: true}": f"{2 * 16 * 2 * 2 * 8} numbers a sequence",
    "{kind: recurrent_memory, memory_tokens: 3}": f"{3 * 32} numbers a sequence",
    "{kind: memorizing, top_k: 4, store_size: 40}": f"{40 * 2 * 2 * 8} numbers a sequence",
}


class AttentionKinds(EndToEndTest):
    def test_trained_resumed_shared_out_and_evaluated(self):
        for index, (attention, keeps) in enumerate(KINDS.items()):
            with self.subTest(attention):
                model = {"attention": attention}
                whole, halves, ranks = f"whole-{index}", f"halves-{index}", f"ranks-{index}"
                self.assertIn(f"keeps {keeps}", self.run_program("train", self.config(whole, model=model)).stdout)
                config = self.config(halves, model=model)
                self.run_program("train", config, "--stop-after", 4)
                self.run_program("train", config)
                self.assert_same_checkpoint(whole, halves, 8)
                self.assertEqual(self.losses(whole), self.losses(halves))
                self.assertLess(self.losses(whole)[-1], self.losses(whole)[0])
                self.run_program("train", self.config(ranks, model=model, train={"micro_batch_size": 1}), ranks=2)
                self.assert_close(self.losses(whole), self.losses(ranks), 1e-5)
                self.assertIn(f"keeps {keeps}", self.run_program("inspect", self.folder / whole).stdout)
                generated = self.run_program("generate", self.folder / whole, "--prompt", "the memory of the palimpsest",
                                             "--max-tokens", 40, "--temperature", 0).stdout
                self.assertTrue(generated.startswith("the memory"), generated)
                self.assertIn("perplexity", self.run_program("eval", self.folder / whole).stdout)

    def test_of_bfloat16_goes_on_without_it(self):
        for index, attention in enumerate(list(KINDS)[1:]):
            with self.subTest(attention):
                config = self.config(f"narrow-{index}", model={"attention": attention},
                                     train={"precision": "bfloat16"})
                self.run_program("train", config, "--stop-after", 4)
                resumed = subprocess.run([PROGRAM, "train", str(config)], capture_output=True, text=True, timeout=TIMEOUT,
                                         env=environment() | {"DNNL_MAX_CPU_ISA": "AVX2"}, check=False)
                self.assertEqual(resumed.returncode, 0, resumed.stderr)

    def test_what_they_cannot_do_is_said(self):
        def refused(attention, train, message):
            config = self.config("refused", model={"attention": attention}, train=train)
            self.assertIn(message, self.run_program("train", config, ranks=2, expect=2).stderr)

        for attention in list(KINDS)[1:]:
            refused(attention, {"sequence_ranks": 2}, "ranks cannot share sequences of model.attention.kind")
        refused("{kind: recurrent_memory}", {"schedule": "parallel"}, "the segments of model.attention.kind: recurrent_memory "
                "follow each other; set it to sequential or automatic")
        refused("{kind: memorizing, memory_layer: 2}", {}, "model.attention.memory_layer 2 is not one of the layers 0 to 1")


if __name__ == "__main__":
    unittest.main()

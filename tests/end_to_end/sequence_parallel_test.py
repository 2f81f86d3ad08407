"""Ranks that share sequences: training, resuming with others, evaluating and measuring, with real mpirun."""
import json
import unittest

from harness import EndToEndTest


class SequenceParallel(EndToEndTest):
    def train(self, run, ranks=1, steps=8, **sections):
        config = self.config(run, **sections)
        self.run_program("train", config, "--stop-after", steps, ranks=ranks)
        return self.losses(run)

    def test_same_losses_as_one_process(self):
        # Three segments a sequence, four lanes, memory carried from step to step.
        options = "linear, gate: add, memory_readout: rms, memory_decay: true, overlap: 5"
        for rule, recompute, jobs in (("delta", "none", ((3, 3),)), ("linear", "block", ((2, 2),)),
                                      ("options", "cheap", ((3, 3),))):
            update = options if rule == "options" else rule
            settings = {"model": {"attention": f"{{kind: infini, memory_update: {update}}}"}, "train": {"steps": 3}}
            expected = self.train(f"alone-{rule}", steps=3, **settings)
            perplexity = self.metrics(f"alone-{rule}", "evaluation")[-1]["token_perplexity"]
            for ranks, together in jobs:
                run = f"{rule}-{ranks}-{together}"
                settings["train"] |= {"sequence_ranks": together, "recompute": recompute}
                self.assert_close(expected, self.train(run, ranks, steps=3, **settings), 1e-5)
                self.assert_close([perplexity], [self.metrics(run, "evaluation")[-1]["token_perplexity"]], 1e-4)

    def test_resumes_bit_for_bit_and_with_other_ranks(self):
        # Two groups of two ranks, recomputed blocks, the optimiser shared out over all four.
        settings = {"train": {"sequence_ranks": 2, "recompute": "block", "steps": 6}, "optimizer": {"sharded": "true"}}
        self.train("whole", 4, steps=6, **settings)
        self.train("halves", 4, steps=3, **settings)
        halves = self.tensors("halves", 3)
        self.run_program("train", self.folder / "halves.yaml", ranks=4)
        self.assert_same_checkpoint("whole", "halves", 6)
        # Whether the optimiser is shared out changes no bit.
        self.train("unsharded", 4, steps=3, **settings | {"optimizer": {"sharded": "false"}})
        self.assertEqual(self.losses("whole")[:3], self.losses("unsharded"))
        self.assertEqual(halves, self.tensors("unsharded", 3))
        # Each lane's memory is stored once, as without sequence parallelism.
        self.train("one", 1, steps=6, train={"steps": 6})
        self.assertEqual(halves.keys(), self.tensors("one", 6).keys())
        self.assert_close(self.losses("one"), self.losses("whole"), 1e-5)
        # With another P and R, alone without sharing anything, and the other way round.
        self.train("other", 4, steps=2, **settings)
        for ranks, together, recompute, sharded, stop in ((3, 3, "cheap", "true", 4), (1, 1, "segment", "false", 5),
                                                          (2, 2, "none", "true", 6)):
            resumed = self.run_program("train", self.folder / "other.yaml", "--stop-after", stop, "--set",
                                       f"train.sequence_ranks={together}", f"train.recompute={recompute}",
                                       f"optimizer.sharded={sharded}", ranks=ranks)
            self.assertIn("not bit for bit", resumed.stdout)
        self.assert_close(self.losses("one"), self.losses("other"), 1e-5)

    def test_refusals_name_what_would_do(self):
        config = self.config("refused", train={"sequence_ranks": 2})

        def refusal(*settings, ranks=2):
            return self.run_program("train", config, "--set", *settings, ranks=ranks, expect=2).stderr

        self.assertIn("does not divide the 3 ranks of this job: use one of 1, 3, or a multiple of 2 ranks",
                      refusal("train.steps=1", ranks=3))
        self.assertIn("at most 3, or sequences of more than 48 tokens", refusal("train.sequence_ranks=4", ranks=4))
        self.assertIn("automatic, none, cheap or block, found segment", refusal("train.recompute=segment"))
        self.assertIn("parallel or automatic, found sequential", refusal("train.schedule=sequential"))
        self.assertIn("in groups of 2: use a multiple of 2, or one of 2, 6 ranks", refusal("train.batch_size=3", ranks=4))
        self.assertFalse((self.folder / "refused" / "checkpoints").exists())

    def test_evaluation_shares_documents(self):
        self.train("evaluated")

        def evaluate(*arguments, ranks):
            result = self.folder / "result.json"
            self.run_program("eval", self.folder / "evaluated", "--json", result, *arguments, ranks=ranks)
            return json.loads(result.read_text(encoding="utf-8"))

        expected = evaluate("--batch-size", 1, ranks=1)
        shared = evaluate("--sequence-ranks", 2, "--batch-size", 2, ranks=4)
        for a, b in zip(expected["documents"], shared["documents"]):
            self.assertEqual((a["name"], a["tokens"]), (b["name"], b["tokens"]))
            self.assert_close([a["negative_log_likelihood"]], [b["negative_log_likelihood"]], 1e-4)
        self.assert_close([expected["total"]["word_perplexity"]], [shared["total"]["word_perplexity"]], 1e-3)
        error = self.run_program("eval", self.folder / "evaluated", "--sequence-ranks", 2, ranks=3, expect=2).stderr
        self.assertIn("--sequence-ranks 2 does not divide the 3 ranks", error)

    def test_bench_says_how_sequences_are_shared(self):
        config = self.config("bench", train={"sequence_ranks": 2})
        settings = ("--steps", "1", "--set", "model.vocab_size=64", "train.batch_size=1")
        result = json.loads(self.run_program("bench", config, "--json", *settings, ranks=2).stdout)
        self.assertEqual((result["ranks"], result["sequence_ranks"]), (2, 2))
        self.assertIn("memory exchange", result["operators"])
        self.assertIn("sequences over 2 ranks each", self.run_program("bench", config, "--forward", *settings, ranks=2).stdout)


if __name__ == "__main__":
    unittest.main()

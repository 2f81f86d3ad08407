"""Several sources at once, several sets to evaluate, and weights to begin with."""
import json
import unittest

from harness import EndToEndTest

LISTED = "[{{file: {folder}/train.h5, weight: 2}}, {{file: {folder}/test.h5, weight: 1, name: other}}]"
WITH_KEYS = ("[{{file: {folder}/train.h5, weight: 2}}, {{kind: passkey, weight: 1, digits: 2, advance_over: 2, advance_at: 0, "
             "stages: [{{segments: 32}}, {{segments: 32, virtual_length: 10}}]}}]")


class Mixture(EndToEndTest):
    def mixed(self, run, mixture, **train):
        """Lanes long enough for a prompt in bytes."""
        return self.config(run, data={"train": mixture.format(folder=self.folder)},
                           train={"sequence_length": 512, "batch_size": 4, "steps": 6} | train)

    def test_trains_alike_on_any_number_of_ranks_and_in_both_schedules(self):
        for ranks in (1, 2, 4):
            self.run_program("train", self.mixed(f"ranks-{ranks}", WITH_KEYS), ranks=ranks)
        self.run_program("train", self.mixed("together", WITH_KEYS, sequence_ranks=2), ranks=2)
        self.run_program("train", self.mixed("segments", WITH_KEYS, schedule="sequential"))
        reference = self.metrics("ranks-1")
        for line in reference:
            self.assertEqual(sorted(line["sources"]), ["passkey", "train"])
            weights = {name: source["loss_weight"] for name, source in line["sources"].items()}
            mean = sum(source["loss"] * weights[name] for name, source in line["sources"].items()) / sum(weights.values())
            self.assertAlmostEqual(mean, line["loss"], 6)
            self.assertLessEqual(line["sources"]["passkey"]["answer_accuracy"], 1)
            self.assertNotIn("answer_accuracy", line["sources"]["train"])
        for run in ("ranks-2", "ranks-4", "together", "segments"):
            self.assert_close(self.losses("ranks-1"), self.losses(run), 1e-4)
            for name in ("passkey", "train"):
                self.assert_close([line["sources"][name]["loss"] for line in reference],
                                  [line["sources"][name]["loss"] for line in self.metrics(run)], 1e-4)

    def test_both_losses_fall(self):
        self.run_program("train", self.mixed("learns", WITH_KEYS, steps=40), "--set", "optimizer.learning_rate=0.02")
        first, last = self.metrics("learns")[0], self.metrics("learns")[-1]
        for name in ("passkey", "train"):
            self.assertLess(last["sources"][name]["loss"], 0.7 * first["sources"][name]["loss"], name)

    def test_resumes_with_the_same_bits_and_no_other_mixture(self):
        for name, mixture in {"text": LISTED, "keys": WITH_KEYS}.items():
            self.run_program("train", self.mixed(f"whole-{name}", mixture))
            config = self.mixed(f"resumed-{name}", mixture)
            self.run_program("train", config, "--stop-after", 3)
            self.run_program("train", config)
            self.assert_same_checkpoint(f"whole-{name}", f"resumed-{name}", 6)
            self.assertEqual(self.losses(f"whole-{name}"), self.losses(f"resumed-{name}"))
        self.assertIn("6 batches of a mixture of 2 sources", self.run_program("inspect", self.folder / "whole-text").stdout)
        for change, word in {LISTED.replace("2}}", "3}}"): "data.train[0].weight: 2 -> 3",
                             LISTED.replace("test.h5", "validation.h5"): "source 1 was",
                             WITH_KEYS: "data.train[1].kind: text -> passkey"}.items():
            error = self.run_program("train", self.mixed("whole-text", change, steps=9), expect=2).stderr
            self.assertIn(word, error)
        error = self.run_program("train", self.config("whole-text", train={"sequence_length": 512, "steps": 9}), expect=2).stderr
        self.assertIn("data.train[0].kind: text -> none", error)

    def test_mistakes_are_named(self):
        for mixture, word in {"[]": "data.train is an empty list",
                              "[{{file: x.h5, weight: 0}}]": "data.train[0].weight must be at least",
                              "[{{file: x.h5, wieght: 1}}]": "data.train[0].wieght is not a key; did you mean weight?",
                              "[{{file: x.h5, digits: 1}}]": "data.train[0].digits is an option of data.train[0].kind passkey",
                              "[{{weight: 1}}]": "data.train[0].file is empty",
                              "[a, b]": "data.train[0] is a section"}.items():
            error = self.run_program("train", self.mixed("mistakes", mixture), expect=2).stderr
            self.assertIn(word, error)
        self.assertIn("x.h5", self.run_program("train", self.mixed("mistakes", "[{{file: x.h5}}]"), expect=3).stderr)
        self.run_program("train", self.mixed("evaluated", LISTED, steps=1))
        error = self.run_program("eval", self.folder / "evaluated", "--split", "train", expect=2).stderr
        self.assertIn("data.train is a mixture", error)


class EvaluationSets(EndToEndTest):
    def sets(self, run, every=2, **train):
        return self.config(run, evaluation={"every": every, "sets": f"[{{name: other, file: {self.folder}/test.h5}}]"}, train=train)

    def test_each_set_is_evaluated_and_its_rise_is_told(self):
        config = self.sets("sets")
        self.run_program("train", config, "--stop-after", 5)
        log = self.run_program("train", config, "--set", "optimizer.learning_rate=3", "optimizer.decay=constant").stdout
        lines = self.metrics("sets", "evaluation")
        self.assertEqual([(line["step"], line["split"]) for line in lines],
                         [(step, split) for step in (2, 4, 6, 8) for split in ("validation", "other")])
        for split in ("validation", "other"):
            least = None
            for line in (line for line in lines if line["split"] == split):
                rise = 0 if least is None else max(0, line["loss"] - least)
                self.assertAlmostEqual(line["forgetting"], rise, 9)
                least = line["loss"] if least is None else min(least, line["loss"])
            self.assertGreater(rise, 0)
        self.assertRegex(log, r"step 8  other: .* above that of step [46]")

    def test_mistakes_are_named(self):
        for sets, word in {"[{name: a b, file: x}]": 'evaluation.sets[0].name is "a b"',
                           "[{name: validation, file: x}]": "data.validation is called already",
                           "[{name: a, file: x}, {name: a, file: y}]": "an earlier set is called already",
                           "[{name: a}]": "evaluation.sets[0].file is empty"}.items():
            error = self.run_program("train", self.config("mistakes", evaluation={"sets": sets}), expect=2).stderr
            self.assertIn(word, error)


class InitialWeights(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls("run_program")
        test.run_program("train", test.config("old"))

    def parameters(self, run, step):
        return {name: value for name, value in self.tensors(run, step).items() if name.startswith("parameters/")}

    def begun(self, run, path, *overrides, expect=0, **sections):
        """A run whose steps change nothing, so that its checkpoint shows what it began with."""
        config = self.config(run, **sections)
        result = self.run_program("train", config, "--set", f"train.initial_weights={self.folder / path}", "train.steps=1",
                                  "optimizer.learning_rate=0", "optimizer.memory_gate_learning_rate=0", *overrides, expect=expect)
        return result.stdout + result.stderr

    def test_a_run_begins_with_any_form_of_a_model(self):
        before = self.parameters("old", 8)
        self.run_program("export", self.folder / "old", self.folder / "exported")
        self.run_program("import", self.folder / "exported", self.folder / "imported")
        for number, path in enumerate(("old", "old/checkpoints/step-00000008", "exported", "imported")):
            log = self.begun(f"new-{number}", path)
            self.assertIn("Beginning with the weights of", log)
            self.assertNotIn("initialized", log)
            self.assertEqual(self.parameters(f"new-{number}", 1), before, path)
            self.assertEqual([line["step"] for line in self.metrics(f"new-{number}", "evaluation")], [0, 1])
        self.assertEqual(self.manifest("new-0", 1)["training_state"]["progress"]["step"], 1)

    def test_another_context_and_another_kind_of_attention(self):
        self.begun("longer", "old", "model.segment_length=32", "train.sequence_length=96", "model.attention.memory_update=linear")
        self.assertEqual(self.parameters("longer", 1), self.parameters("old", 8))
        error = self.begun("refused", "old", "model.attention.kind=local", expect=2)
        self.assertIn("no place for layers.0.self_attn.memory_gate", error)
        log = self.begun("local", "old", "model.attention.kind=local", "train.allow_unused_weights=true")
        self.assertIn("left out", log)
        self.assertIn("model.attention.kind: infini -> local", log)
        log = self.begun("again", "local", "model.attention.initial_gate=-3")
        self.assertIn("initialized    layers.0.self_attn.memory_gate", log)
        self.assertIn("is (48, 32), expected (64, 32)", self.begun("wide", "old", "model.ffn_size=64", expect=2))
        self.assertIn("is not there", self.begun("nowhere", "missing", expect=3))

    def test_it_resumes_from_its_own_checkpoint(self):
        sections = {"train": {"initial_weights": self.folder / "old"}, "optimizer": {"decay_toward_initial": 0.5}}
        config = self.config("whole", **sections)
        self.run_program("train", config)
        config = self.config("resumed", **sections)
        self.run_program("train", config, "--stop-after", 3)
        log = self.run_program("train", config, "--set", f"train.initial_weights={self.folder / 'gone'}").stdout
        self.assertNotIn("Beginning with", log)
        self.assert_same_checkpoint("whole", "resumed", 8)
        old, kept = self.parameters("old", 8), self.tensors("resumed", 8)
        for name, value in old.items():  # what decay_toward_initial goes toward
            if not name.endswith("memory_gate"):
                self.assertEqual(kept[name.replace("parameters/", "optimizer/") + "/initial"], value)
        error = self.run_program("train", config, "--set", "optimizer.decay_toward_initial=0", expect=2).stderr
        self.assertIn("optimizer.decay_toward_initial: 0.5 -> 0", error)

    def test_lora_is_trained_alone_and_merged_on_export(self):
        lora = "{rank: 2, projections: [q_proj, down_proj]}"
        config = self.config("lora", model={"lora": lora}, train={"initial_weights": f"{self.folder}/old/", "trainable": "[lora]"},
                             optimizer={"learning_rate_multipliers": "[{parameters: '*.lora_B.*', factor: 2}]"})
        log = self.run_program("train", config).stdout
        self.assertRegex(log, "trained .* of the parameters: lora")
        after = self.parameters("lora", 8)
        for name, value in self.parameters("old", 8).items():
            self.assertEqual(after[name], value)
        self.run_program("export", self.folder / "lora", self.folder / "merged")
        self.run_program("import", self.folder / "merged", self.folder / "merged-run")
        self.assertIn('"old"', (self.folder / "merged" / "config.json").read_text(encoding="utf-8").replace('\\"', '"'))
        # Nothing in the imported configuration means what has been merged.
        self.run_program("train", self.folder / "merged-run" / "config.yaml", "--set", f"train.run_directory={self.folder}/merged-again",
                         f"data.train={self.folder}/train.h5", "data.validation=", "train.steps=1", "train.initial_weights=")
        results = []
        for run in ("lora", "merged-run", "old"):
            result = self.folder / "result.json"
            self.run_program("eval", self.folder / run, "--data", self.folder / "test.h5", "--json", result)
            results.append(json.loads(result.read_text(encoding="utf-8"))["total"]["negative_log_likelihood"])
        self.assert_close(results[:1], results[1:2], 1e-5)
        self.assertNotAlmostEqual(results[0], results[2], 2)

    def test_the_memory_learns_from_what_full_attention_says(self):
        sections = {"train": {"initial_weights": self.folder / "old", "trainable": "[memory]", "micro_batch_size": 1},
                    "distillation": {"share": 0.75}}
        config = self.config("taught", **sections)
        log = self.run_program("train", config).stdout
        self.assertRegex(log, "teacher .*old.*step-00000008, full attention")
        divergences = [line["divergence"] for line in self.metrics("taught")]
        self.assertTrue(all(value > 0 for value in divergences), divergences)
        self.assertIn(f"KL {divergences[-1]:.4f}", log)
        self.assertEqual(self.parameters("taught", 8).keys(), self.parameters("old", 8).keys())
        self.run_program("train", self.config("taught-by-two", **sections), ranks=2)
        self.assert_close(divergences, [line["divergence"] for line in self.metrics("taught-by-two")], 1e-5)
        self.assert_close(self.losses("taught"), self.losses("taught-by-two"), 1e-5)
        # It resumes bit for bit, and with no other teacher.
        halves = self.config("halves", **sections)
        self.run_program("train", halves, "--stop-after", 4)
        self.run_program("train", self.config("other", train={"steps": 1, "seed": 2}))
        error = self.run_program("train", halves, "--set", f"distillation.teacher={self.folder / 'other'}", expect=2).stderr
        self.assertIn("the run's teacher was", error)
        self.assertIn("distillation.share: 0.75 -> 0.5",
                      self.run_program("train", halves, "--set", "distillation.share=0.5", expect=2).stderr)
        self.run_program("train", halves, "--set", f"distillation.teacher={self.folder}/old/checkpoints/step-00000008")
        self.assertEqual(divergences, [line["divergence"] for line in self.metrics("halves")])
        before, after = self.tensors("taught", 8), self.tensors("halves", 8)
        self.assertEqual(before, after)


if __name__ == "__main__":
    unittest.main()

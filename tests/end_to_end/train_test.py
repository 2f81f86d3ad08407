"""Training with real processes: resuming, ranks, signals, refusals."""
import json
import os
import signal
import unittest
import unittest.mock

from harness import SOURCE, TIMEOUT, EndToEndTest


class Resume(EndToEndTest):
    def check(self, ranks, name="", carried=2, **sections):
        whole_run, halves_run = f"whole{name}-{ranks}", f"halves{name}-{ranks}"
        whole, halves = self.config(whole_run, **sections), self.config(halves_run, **sections)
        self.run_program("train", whole, ranks=ranks)
        self.run_program("train", halves, "--stop-after", 4, ranks=ranks)
        self.assertEqual(self.manifest(halves_run, 4)["step"], 4)
        resumed = self.run_program("train", halves, ranks=ranks)
        self.assertIn("Resuming from", resumed.stdout)
        self.assert_same_checkpoint(whole_run, halves_run, 8)
        self.assertEqual([line["step"] for line in self.metrics(halves_run)], list(range(1, 9)))
        self.assertEqual(self.losses(whole_run), self.losses(halves_run))
        memory = {name: data for name, data in self.tensors(whole_run, 8).items() if name.startswith("state/")}
        self.assertEqual(len(memory), 2 * carried)  # layers, matrix and norm, of all lanes
        self.assertTrue(any(any(data) for data in memory.values()), "no lane carries anything")
        self.assertTrue(any(name.startswith("optimizer/") for name in self.tensors(whole_run, 8)))

    def test_one_process(self):
        self.check(ranks=1)

    def test_two_ranks_adafactor_linear_micro_batches(self):
        self.check(ranks=2, optimizer={"kind": "adafactor"}, model={"attention": "{kind: infini, memory_update: linear}"},
                   train={"micro_batch_size": 1, "recompute": "segment"})

    def test_two_ranks_that_train_a_part_of_it_sharded(self):
        sections = {"train": {"trainable": "[attention]"}, "optimizer": {"sharded": "true"}}
        self.check(ranks=2, name="-part", **sections)
        trained = {name.split("/")[1] for name in self.tensors("whole-part-2", 8) if name.startswith("optimizer/")}
        self.assertEqual(len(trained), 2 * 5)
        self.assertTrue(all(".self_attn." in name for name in trained), trained)
        config = self.config("whole-part-2", **sections)
        error = self.run_program("train", config, "--set", "train.trainable=memory", expect=2).stderr
        self.assertIn('train.trainable: ["attention"] -> ["memory"]', error)

    def test_options_of_the_memory(self):
        # The keys and values of an overlap are carried as well, in float32 whatever is computed in.
        options = "{kind: infini, gate: add, memory_readout: rms, memory_decay: true, overlap: 5}"
        self.check(ranks=1, name="-options", carried=4, model={"attention": options}, train={"precision": "bfloat16"})
        inspected = self.run_program("inspect", self.folder / "whole-options-1").stdout
        for expected in ("layers.1.self_attn.memory_gain", "layers.1.self_attn.memory_decay"):
            self.assertIn(expected, inspected)

    def test_finished_run_stays_as_it_is(self):
        config = self.config("finished")
        self.run_program("train", config)
        before = (self.folder / "finished" / "metrics.jsonl").read_bytes()
        again = self.run_program("train", config)
        self.assertIn("Nothing to do", again.stdout)
        self.assertEqual((self.folder / "finished" / "metrics.jsonl").read_bytes(), before)
        self.run_program("train", config, "--set", "train.steps=10")
        self.assertEqual(self.metrics("finished")[-1]["step"], 10)

    def test_lines_beyond_the_checkpoint_and_torn_ones_go(self):
        config = self.config("torn")
        self.run_program("train", config, "--stop-after", 4)
        with open(self.folder / "torn" / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"kind":"step","step":5,"loss":-1}\n{"kind":"step","st')
        self.run_program("train", config)
        self.assertEqual([line["step"] for line in self.metrics("torn")], list(range(1, 9)))
        self.assertNotIn(-1, self.losses("torn"))


class Metrics(EndToEndTest):
    def test_every_key_is_documented(self):
        self.run_program("train", self.config("documented"))
        pages = (SOURCE / "docs" / "file-formats.md").read_text(encoding="utf-8")
        documented = pages.partition("## metrics.jsonl\n")[2].partition("\n## ")[0]
        for kind in "step", "evaluation":
            lines = self.metrics("documented", kind)
            self.assertTrue(lines, kind)
            for key in lines[-1]:
                self.assertIn(f"`{key}`", documented, kind)

    def test_gates_have_a_file_of_their_own(self):
        def steps(run):
            lines = (self.folder / run / "gates.jsonl").read_text(encoding="utf-8").splitlines()
            gates = [json.loads(line)["gates"] for line in lines]
            self.assertTrue(all([len(layer) for layer in gate] == [4, 4] for gate in gates))
            return [json.loads(line)["step"] for line in lines]

        config = self.config("gates")
        self.run_program("train", config, "--stop-after", 4)
        with open(self.folder / "gates" / "gates.jsonl", "a", encoding="utf-8") as file:
            file.write('{"kind":"gates","step":5,"gates":[]}\n{"kind":"ga')
        self.run_program("train", config)
        self.assertEqual(steps("gates"), list(range(1, 9)))
        self.run_program("train", self.config("no-gates", model={"attention": "{kind: local}"}))
        self.assertFalse((self.folder / "no-gates" / "gates.jsonl").exists())


class Ranks(EndToEndTest):
    def test_same_losses_on_any_number_of_ranks(self):
        losses = {}
        for ranks in (1, 2, 4):
            self.run_program("train", self.config(f"ranks-{ranks}"), ranks=ranks)
            losses[ranks] = self.losses(f"ranks-{ranks}")
        self.assertLess(losses[1][-1], losses[1][0])
        self.assert_close(losses[1], losses[2], 1e-5)
        self.assert_close(losses[1], losses[4], 1e-5)
        evaluations = [self.metrics(f"ranks-{ranks}", "evaluation")[-1]["token_perplexity"] for ranks in losses]
        self.assert_close(evaluations[:1] * 3, evaluations, 1e-4)

    def test_resumes_on_fewer_ranks(self):
        self.run_program("train", self.config("reference"))
        config = self.config("fewer")
        self.run_program("train", config, "--stop-after", 4, ranks=4)
        resumed = self.run_program("train", config, ranks=2)
        self.assertIn("not bit for bit", resumed.stdout)
        self.assert_close(self.losses("reference"), self.losses("fewer"), 1e-5)

    def test_indivisible_batches_name_what_divides(self):
        config = self.config("indivisible")
        error = self.run_program("train", config, ranks=3, expect=2).stderr
        self.assertIn("train.batch_size 4 cannot be shared by 3 ranks", error)
        self.assertEqual(error.count("palimpsest: error:"), 1, error)
        error = self.run_program("train", config, "--set", "train.micro_batch_size=4", ranks=2, expect=2).stderr
        self.assertIn("use one of 1, 2, or 0", error)


class Signals(EndToEndTest):
    ENDLESS = ("--set", "train.steps=100000")

    def check(self, number, ranks=1, target=lambda process: process.pid, expect=None):
        name = f"signal-{self.id()}"
        config = self.config(name)
        process = self.start_program("train", config, *self.ENDLESS, ranks=ranks)
        self.wait_for_step(name, 3)
        os.kill(target(process), number)
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 128 + number if expect is None else expect, output)
        step = self.metrics(name)[-1]["step"]
        self.assertEqual(self.manifest(name, step)["step"], step)
        self.run_program("train", config, *self.ENDLESS, "--stop-after", step + 2, ranks=ranks)
        reference = self.config(f"{name}-reference")
        self.run_program("train", reference, *self.ENDLESS, "--stop-after", step + 2, ranks=ranks)
        self.assert_same_checkpoint(name, f"{name}-reference", step + 2)

    def test_interrupt(self):
        self.check(signal.SIGINT)

    def test_terminate(self):
        self.check(signal.SIGTERM)

    def test_user_signal_through_mpirun(self):
        self.check(signal.SIGUSR1, ranks=2)

    def test_terminate_mpirun(self):
        # mpirun stops reading its ranks' output at once, sends SIGTERM a timeout later and SIGKILL after another.
        # Its exit code is its own, whatever the ranks' codes.
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_odls_base_sigkill_timeout="3"):
            self.check(signal.SIGTERM, ranks=2, expect=1)

    def test_terminate_one_rank_of_two(self):
        def last_rank(process):
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
                return int(children.read().split()[-1])

        self.check(signal.SIGTERM, ranks=2, target=last_rank)


class Refusals(EndToEndTest):
    def test_another_model(self):
        config = self.config("changed")
        self.run_program("train", config, "--stop-after", 2)
        before = self.tensors("changed", 2)
        error = self.run_program("train", config, "--set", "model.hidden_size=64", "train.seed=5", expect=2).stderr
        self.assertIn("model.hidden_size: 32 -> 64", error)
        self.assertIn("train.seed: 1 -> 5", error)
        self.assertEqual(self.tensors("changed", 2), before)
        changed = self.run_program("train", config, "--set", "optimizer.learning_rate=0.02", "train.log_every=3")
        self.assertIn("optimizer.learning_rate", changed.stdout)
        self.assertNotIn("log_every", changed.stdout)

    def test_other_data(self):
        config = self.config("data")
        self.run_program("train", config, "--stop-after", 2)
        error = self.run_program("train", config, "--set", f"data.train={self.folder}/test.h5", expect=2).stderr
        self.assertIn("palimpsest: error:", error)

    def test_second_trainer_in_one_run_directory(self):
        config = self.config("locked")
        first = self.start_program("train", config, "--set", "train.steps=100000")
        self.wait_for_step("locked", 1)
        error = self.run_program("train", config, expect=2).stderr
        self.assertIn(f"process {first.pid} on", error)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=TIMEOUT)

    def test_loss_that_explodes(self):
        config = self.config("explodes", checkpoint={"every": 1}, optimizer={"learning_rate": "1e30", "clip_norm": 0},
                             train={"steps": 100})
        error = self.run_program("train", config, ranks=2, expect=5).stderr
        self.assertIn("10 steps in a row were skipped (train.max_skipped_steps)", error)
        self.assertRegex(error, r"the first such tensor is (the gradient of )?[a-z_.0-9]+weight")
        self.assertEqual(self.metrics("explodes")[0]["step"], 1)

    def test_run_directory_that_cannot_be_made(self):
        error = self.run_program("train", self.config("blocked"), "--set", "train.run_directory=/proc/run", expect=4).stderr
        self.assertIn("/proc/run: cannot be created", error)

    def test_data_that_is_not_there(self):
        error = self.run_program("train", self.config("missing"), "--set", "data.train=/no/such/file.h5", expect=3).stderr
        self.assertIn("/no/such/file.h5", error)


if __name__ == "__main__":
    unittest.main()

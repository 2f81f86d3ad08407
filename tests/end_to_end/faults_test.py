"""Faults during a run, with real processes: signals, the time limit, ranks that die or hang, numbers that are not
finite, disks that are full."""
import os
import signal
import unittest

from harness import TIMEOUT, EndToEndTest

ENDLESS = ("--set", "train.steps=100000")


class FaultTest(EndToEndTest):
    def start_run(self, name, *arguments, ranks=2, step=3, **sections):
        """A run that would go on for ever, once it has reached `step`."""
        config = self.config(name, **sections)
        process = self.start_program("train", config, *ENDLESS, *arguments, ranks=ranks)
        self.wait_for_step(name, step)
        return config, process

    def finish(self, process, expect):
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, expect, output)
        return output

    def check_resumes(self, name, config, ranks=2, **sections):
        """The run `name` was stopped with a checkpoint of its last step, from which it goes on bit for bit."""
        step = self.metrics(name)[-1]["step"]
        self.assertEqual(self.manifest(name, step)["step"], step)
        stop = (*ENDLESS, "--stop-after", step + 2)
        self.run_program("train", config, *stop, ranks=ranks)
        self.run_program("train", self.config(f"{name}-reference", **sections), *stop, ranks=ranks)
        self.assert_same_checkpoint(name, f"{name}-reference", step + 2)
        self.assertEqual([line["step"] for line in self.metrics(name)], list(range(1, step + 3)))


class Signals(FaultTest):
    """Whoever gets it first: one step on which all ranks agree, one checkpoint, 128 + the signal."""

    def check(self, number, targets):
        name = self.id().rpartition(".")[2]
        config, process = self.start_run(name)
        for pid in targets(self.ranks_of(config)):
            os.kill(pid, number)
        output = self.finish(process, 128 + number)
        self.assertEqual(output.count("checkpoint saved"), 1, output)
        self.assertIn(f"Stopped by {signal.Signals(number).name}", output)
        self.check_resumes(name, config)

    def test_terminate_one_rank(self):
        self.check(signal.SIGTERM, lambda ranks: ranks[1:])

    def test_terminate_all_ranks(self):
        self.check(signal.SIGTERM, lambda ranks: ranks)

    def test_user_signal_to_one_rank(self):
        self.check(signal.SIGUSR1, lambda ranks: ranks[:1])

    def test_user_signal_to_all_ranks(self):
        self.check(signal.SIGUSR1, lambda ranks: ranks)

    def test_interrupt_all_ranks(self):
        self.check(signal.SIGINT, lambda ranks: ranks)

    def test_more_signals_during_the_save(self):
        config, process = self.start_run("again")
        ranks = self.ranks_of(config)
        os.kill(ranks[1], signal.SIGUSR1)
        checkpoints = self.folder / "again" / "checkpoints"
        while process.poll() is None and not any(checkpoints.glob(".tmp-*")):
            pass
        self.assertIsNone(process.poll(), "the save was over before a second signal")
        while process.poll() is None:
            for pid in ranks:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
        output = self.finish(process, 128 + signal.SIGUSR1)
        self.assertEqual(output.count("checkpoint saved"), 1, output)
        self.check_resumes("again", config)


class TimeLimit(FaultTest):
    def test_stops_with_a_checkpoint(self):
        config = self.config("limited", evaluation={"every": 50})
        output = self.run_program("train", config, *ENDLESS, "train.time_limit=0:00:04", ranks=2, expect=8).stdout
        self.assertIn("Stopped by train.time_limit after step", output)
        self.check_resumes("limited", config, evaluation={"every": 50})

    def test_a_run_that_ends_before_is_done(self):
        self.run_program("train", self.config("in-time"), "--set", "train.time_limit=1:00:00")
        self.assertEqual(self.manifest("in-time", 8)["step"], 8)


if __name__ == "__main__":
    unittest.main()

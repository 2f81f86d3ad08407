"""Faults during a run, with real processes: signals, the time limit, ranks that die or hang, numbers that are not
finite, disks that are full."""
import ctypes
import os
import re
import signal
import socket
import unittest
import unittest.mock

from harness import TIMEOUT, EndToEndTest

ENDLESS = ("--set", "train.steps=100000")
HOST = re.escape(socket.gethostname())


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


class LostRanks(FaultTest):
    """A rank that dies, stops, leaves or hangs is named, the job ends, and the run goes on bit for bit."""

    def check_resumes_from_checkpoint(self, name, config):
        step = max(line["step"] for line in self.metrics(name))
        self.assertGreaterEqual(step, 12)
        self.assertFalse(self.ranks_of(config), "ranks are left")
        self.run_program("train", config, *ENDLESS, "--stop-after", 30, ranks=2)
        reference = self.config(f"{name}-reference", checkpoint={"every": 10})
        self.run_program("train", reference, *ENDLESS, "--stop-after", 30, ranks=2)
        self.assert_same_checkpoint(name, f"{name}-reference", 30)
        self.assertEqual(self.losses(name), self.losses(f"{name}-reference"))

    def start(self, name, *arguments):
        return self.start_run(name, *arguments, step=12, checkpoint={"every": 10})

    def test_killed(self):
        config, process = self.start("killed")
        os.kill(self.ranks_of(config)[1], signal.SIGKILL)
        self.finish(process, 137)
        self.check_resumes_from_checkpoint("killed", config)

    def test_stopped(self):
        config, process = self.start("stopped", "train.watchdog_timeout=2")
        rank = self.ranks_of(config)[1]
        os.kill(rank, signal.SIGSTOP)
        output = self.finish(process, 7)
        self.assertRegex(output, rf"watchdog: rank 1 on {HOST} \(process {rank}\) of 2 has given no sign of life for .* s; "
                                 r"last phase: step \d+, [a-z ]+; ending the job")
        self.check_resumes_from_checkpoint("stopped", config)

    def test_dead_behind_the_launchers_back(self):
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_orte_enable_recovery="1"):
            config, process = self.start("dead", "train.watchdog_timeout=2")
        rank = self.ranks_of(config)[0]
        os.kill(rank, signal.SIGKILL)
        output, _ = process.communicate(timeout=TIMEOUT)  # the exit code of a mpirun that tolerates deaths says nothing
        self.assertRegex(output, rf"watchdog: rank 0 on {HOST} \(process {rank}\) of 2 has given no sign of life")
        self.check_resumes_from_checkpoint("dead", config)

    def test_hanging(self):
        config, process = self.start("hanging", "train.watchdog_timeout=2")
        rank = self.ranks_of(config)[1]
        # Stops the thread that trains and none of the others, as a debugger does.
        attach, libc = 16, ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(attach, rank, None, None) != 0:
            self.skipTest(f"may not trace other processes: {os.strerror(ctypes.get_errno())}")
        output = self.finish(process, 7)
        self.assertRegex(output, rf"watchdog: (rank 1 on {HOST} \(process {rank}\) of 2 has neither computed nor come any further"
                                 r"|all 2 ranks have waited for each other)")
        self.check_resumes_from_checkpoint("hanging", config)

    def test_a_run_of_one_process_leaves_its_last_phase(self):
        config, process = self.start_run("alone", ranks=1)
        os.kill(process.pid, signal.SIGINT)
        self.finish(process, 130)
        heartbeat = (self.folder / "alone" / "heartbeats" / "rank-00000.json").read_text()
        self.assertIn('"phase":"finished"', heartbeat)


if __name__ == "__main__":
    unittest.main()

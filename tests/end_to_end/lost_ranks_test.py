"""Ranks that die, stop, hang, leave early or never come, with real processes: they are named, and the job ends."""
import ctypes
import os
import signal
import unittest
import unittest.mock

from harness import ENDLESS, HOST, PROGRAM, TIMEOUT, FaultTest, faults, job


class LostRanks(FaultTest):
    """A rank that dies, stops, leaves or hangs is named, the job ends, and the run goes on bit for bit."""

    def check_resumes_from_checkpoint(self, name, config):
        step = max(line["step"] for line in self.metrics(name))
        self.assertGreaterEqual(step, 12)
        self.assertFalse(self.ranks_of(config), "ranks are left")
        output = self.run_program("train", config, *ENDLESS, "--stop-after", 30, ranks=2).stdout
        self.assertRegex(output, r"The job before did not end in order; its last signs of life: "
                                 rf"rank [01] on {HOST} \(process \d+\): step \d+, [a-z ,]+; rank [01] on")
        if not (self.folder / "undisturbed").exists():
            reference = self.config("undisturbed", checkpoint={"every": 10})
            self.run_program("train", reference, *ENDLESS, "--stop-after", 30, ranks=2)
        self.assert_same_checkpoint(name, "undisturbed", 30)
        self.assertEqual(self.losses(name), self.losses("undisturbed"))

    def start_for_loss(self, name, *arguments):
        return self.start_run(name, *arguments, step=12, checkpoint={"every": 10})

    def test_killed(self):
        config, process = self.start_for_loss("killed")
        os.kill(self.ranks_of(config)[1], signal.SIGKILL)
        self.finish(process, 137)
        self.check_resumes_from_checkpoint("killed", config)

    def test_stopped(self):
        config, process = self.start_for_loss("stopped", "train.watchdog_timeout=4")
        rank = self.ranks_of(config)[1]
        os.kill(rank, signal.SIGSTOP)
        output = self.finish(process, 7)
        self.assertRegex(output, rf"watchdog: rank 1 on {HOST} \(process {rank}\) of 2 has given no sign of life for .* s; "
                                 r"last phase: step \d+, [a-z ]+; ending the job")
        self.check_resumes_from_checkpoint("stopped", config)

    def test_dead_behind_the_launchers_back(self):
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_orte_enable_recovery="1"):
            config, process = self.start_for_loss("dead", "train.watchdog_timeout=4")
        rank = self.ranks_of(config)[0]
        os.kill(rank, signal.SIGKILL)
        output, _ = process.communicate(timeout=TIMEOUT)  # the exit code of a mpirun that tolerates deaths says nothing
        self.assertRegex(output, rf"watchdog: rank 0 on {HOST} \(process {rank}\) of 2 has given no sign of life")
        self.check_resumes_from_checkpoint("dead", config)

    def test_hanging(self):
        config, process = self.start_for_loss("hanging", "train.watchdog_timeout=4")
        rank = self.ranks_of(config)[1]
        # Stops the thread that trains and none of the others, as a debugger does.
        attach, libc = 16, ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(attach, rank, None, None) != 0:
            self.skipTest(f"may not trace other processes: {os.strerror(ctypes.get_errno())}")
        output = self.finish(process, 7)
        self.assertRegex(output, rf"watchdog: (rank 1 on {HOST} \(process {rank}\) of 2 has neither computed nor come any further"
                                 r"|all 2 ranks have waited for each other)")
        self.check_resumes_from_checkpoint("hanging", config)

    def start_with_one_that_leaves(self, name):
        """Rank 1 ends with exit code 0, without a word to MPI, while it saves its part of step 20."""
        config = self.config(name, checkpoint={"every": 10}, train={"watchdog_timeout": 4, "steps": 100000})
        leaving = [f"{key}={value}" for key, value in faults("step-00000020/state-00001", "leave", at=2).items()]
        train = [PROGRAM, "train", config]
        return config, self.start(job(train, ["env", *leaving, *train]))

    def test_gone_early(self):
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_orte_enable_recovery="1"):  # mpirun does not care
            config, process = self.start_with_one_that_leaves("gone")
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertRegex(output, rf"watchdog: rank 1 on {HOST} \(process \d+\) of 2 has given no sign of life for .* s; "
                                 r"last phase: step \d+, [a-z ]+; ending the job")
        self.check_resumes_from_checkpoint("gone", config)

    def test_gone_early_and_mpirun_notices(self):
        config, process = self.start_with_one_that_leaves("noticed")
        output = self.finish(process, 1)
        self.assertRegex(output, r'process rank 1 with PID \d+ on\s+node \S+ exiting improperly')
        self.check_resumes_from_checkpoint("noticed", config)

    def test_a_rank_that_ends_its_training_before_the_others(self):
        config = self.config("sooner", checkpoint={"every": 10}, train={"watchdog_timeout": 4, "steps": 100000})
        train = [PROGRAM, "train", config]
        output = self.finish(self.start(job(train, train + ["--stop-after", 13])), 7)
        self.assertRegex(output, rf"watchdog: all 2 ranks have waited for each other, rank 1 on {HOST} \(process \d+\) in step 13, "
                                 rf"communication, and rank 0 on {HOST} \(process \d+\) in step 14, communication, for")
        self.check_resumes_from_checkpoint("sooner", config)

    def test_a_message_lost_inside_an_evaluation(self):
        """Rank 1 leaves out the shortest document, the last one, so that rank 0 waits for its share of it for ever."""
        config = self.config("evaluating", data={"validation": self.folder / "train.h5"},
                             evaluation={"every": 12, "batch_size": 1},
                             train={"watchdog_timeout": 4, "steps": 100000, "sequence_ranks": 2})
        train = [PROGRAM, "train", config]
        output = self.finish(self.start(job(train, train + ["--set", "evaluation.max_documents=3"])), 7)
        self.assertRegex(output, r"watchdog: all 2 ranks have waited for each other in step 12, evaluation for")

    def test_gone_before_the_ranks_have_met(self):
        waiting = []
        for name, other, seconds in (("silent", ["true"], 10), ("polite", [PROGRAM, "--version"], 4)):  # without a word to MPI; with it
            config = self.config(name, train={"watchdog_timeout": 4})
            waiting.append((config, self.start(job([PROGRAM, "train", config], other)), seconds))
        for config, process, seconds in waiting:
            output = self.finish(process, 7)
            self.assertRegex(output, rf"process \d+ on {HOST}: the ranks have not come together within {seconds} s of their start")
            self.assertFalse(self.ranks_of(config), "ranks are left")

    def test_a_run_of_one_process_leaves_its_last_phase(self):
        config, process = self.start_run("alone", ranks=1)
        os.kill(process.pid, signal.SIGINT)
        self.finish(process, 130)
        heartbeat = (self.folder / "alone" / "heartbeats" / "rank-00000.json").read_text()
        self.assertIn('"phase":"finished"', heartbeat)


if __name__ == "__main__":
    unittest.main()

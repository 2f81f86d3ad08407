"""Faults during a run, with real processes: signals, the time limit, clocks that jump, numbers that are not finite,
disks that are full. lost_ranks_test.py has ranks that die or hang."""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import unittest
import unittest.mock

import numpy
from harness import ENDLESS, HOST, INTERPOSER, PROGRAM, TIMEOUT, FaultTest, environment, faults, job


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
        config = self.config("again")
        train = [PROGRAM, "train", config, *ENDLESS]
        # Rank 1 stops itself when it begins to write its part.
        stopping = [f"{key}={value}" for key, value in faults("/state-00001", "stop").items()]
        process = self.start(job(train, ["env", *stopping, *train]))
        self.wait_for_step("again", 3)
        ranks = self.ranks_of(config)
        os.kill(ranks[0], signal.SIGUSR1)
        self.wait_until_stopped(ranks[1])
        for pid in ranks:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                os.kill(pid, number)
        os.kill(ranks[1], signal.SIGCONT)
        output = self.finish(process, 128 + signal.SIGUSR1)
        self.assertEqual(output.count("checkpoint saved"), 1, output)
        self.check_resumes("again", config)

    def wait_until_stopped(self, pid):
        deadline = time.monotonic() + TIMEOUT
        while pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "T":
            self.assertLess(time.monotonic(), deadline, f"process {pid} has not stopped")
            time.sleep(0.02)


class TimeLimit(FaultTest):
    def test_stops_with_a_checkpoint(self):
        for seconds in (4, 16, 64):  # on a busy machine the time may be up before there is a step to look at
            name = f"limited-{seconds}"
            config = self.config(name, evaluation={"every": 50})
            output = self.run_program("train", config, *ENDLESS, f"train.time_limit={seconds}", ranks=2, expect=8).stdout
            if self.metrics(name):
                break
        self.assertIn("Stopped by train.time_limit after step", output)
        self.check_resumes(name, config, evaluation={"every": 50})

    def test_a_run_that_ends_before_is_done(self):
        self.run_program("train", self.config("in-time"), "--set", "train.time_limit=1:00:00")
        self.assertEqual(self.manifest("in-time", 8)["step"], 8)


class Clock(FaultTest):
    def test_jumps_ahead_and_back(self):
        file = self.folder / "seconds-wrong"
        file.write_text("0", encoding="ascii")
        settings = ("train.watchdog_timeout=4", "train.time_limit=0:30:00")
        with unittest.mock.patch.dict(os.environ, LD_PRELOAD=INTERPOSER, PALIMPSEST_FAULT_CLOCK=str(file),
                                      ASAN_OPTIONS="verify_asan_link_order=0"):
            config, process = self.start_run("clock", *settings, checkpoint={"every": 20})
        for seconds in (10 * 86400, -10 * 86400, 0):
            file.write_text(str(seconds), encoding="ascii")
            self.wait_for_step("clock", self.metrics("clock")[-1]["step"] + 40)
        os.kill(self.ranks_of(config)[0], signal.SIGTERM)
        output = self.finish(process, 143)  # neither the watchdog nor the time limit
        self.assertNotIn("warning", output)
        lines = self.metrics("clock")
        self.assertEqual([line["step"] for line in lines], list(range(1, len(lines) + 1)))
        for line in lines:
            self.assertTrue(1 < line["tokens_per_second"] < 1e8, line)
        log = (self.folder / "clock" / "train.log").read_text(encoding="utf-8")
        steps = [int(step) for step in re.findall(r"step (\d+)/100000  loss", log)]
        self.assertEqual(steps, list(range(1, len(lines) + 1)))  # in the order in which it happened
        dates = {line[:10] for line in log.splitlines()}
        self.assertGreaterEqual(len(dates), 3, "the clock has not jumped")
        self.assertNotRegex(log, r"ETA (-|\d+ d)")
        saved = [float(seconds) for seconds in re.findall(r"checkpoint saved in ([-\d.]+) s", log)]
        self.assertGreaterEqual(len(saved), 6)
        self.assertTrue(all(0 <= seconds < 60 for seconds in saved), saved)
        self.check_resumes("clock", config, checkpoint={"every": 20})


class NotFinite(FaultTest):
    """NaN and infinity: one decision for all ranks, and the first bad tensor by name."""

    def test_in_the_memory_of_one_rank(self):
        config = self.config("nan-memory", train={"steps": 12})
        self.run_program("train", config, "--stop-after", 4, ranks=2)

        shares = []  # of lanes 0 and 1, which rank 0 wrote, and of lanes 2 and 3

        def spoil(name, values):
            if name == "state/layers.1.matrix":
                shares.append(name)
                if len(shares) == 2:
                    values[values.size // 2:] = numpy.inf
        self.edit_checkpoint("nan-memory", 4, spoil)
        output = self.run_program("train", config, ranks=2).stdout
        self.assertRegex(output, rf"step 5: the loss of rank 1 on {HOST} is not finite, and the first such tensor is "
                                 r"the memory of lane 3, layers\.1\.matrix; step skipped \(1 in a row\)")
        steps = self.metrics("nan-memory")
        self.assertEqual([line["step"] for line in steps], list(range(1, 13)))
        self.assertIsNone(steps[4]["loss"])
        self.assertTrue(all(line["loss"] for line in steps[5:]), "memories are emptied, and the run goes on")
        self.assertEqual(steps[-1]["skipped_steps"], 1)
        self.assertEqual(self.manifest("nan-memory", 12)["training_state"]["optimizer"]["step"], 11)

    def test_in_a_parameter(self):
        config = self.config("nan-parameter", train={"steps": 12, "max_skipped_steps": 3})
        self.run_program("train", config, "--stop-after", 4, ranks=2)

        def spoil(name, values):
            if name == "parameters/layers.1.mlp.up_proj.weight":
                values.reshape(-1)[7] = numpy.nan
        self.edit_checkpoint("nan-parameter", 4, spoil)
        error = self.run_program("train", config, ranks=2, expect=5).stderr
        self.assertIn("3 steps in a row were skipped (train.max_skipped_steps), the last being step 7", error)
        self.assertIn("the first such tensor is layers.1.mlp.up_proj.weight", error)
        self.assertFalse(self.checkpoint("nan-parameter", 12).exists())


class LossSpikes(FaultTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Documents that say little, and one of noise.
        corpus = cls.folder / "corpus" / "spiky"
        corpus.mkdir()
        for index in range(30):
            (corpus / f"{index:02}.txt").write_text("again and " * 60, encoding="utf-8")
        noise = random.Random(1)
        (corpus / "noise.txt").write_text("".join(chr(noise.randrange(33, 127)) for _ in range(900)), encoding="utf-8")
        subprocess.run([PROGRAM, "pack", corpus, cls.folder / "spiky.h5"], check=True, capture_output=True, timeout=TIMEOUT)

    def spiky(self, name, policy, threshold=6):
        return self.config(name, data={"train": self.folder / "spiky.h5"},
                           train={"steps": 90, "max_skipped_steps": 60, "seed": 7},  # the noise comes late
                           loss_spike={"policy": policy, "window": 20, "threshold": threshold})

    def test_warning(self):
        output = self.run_program("train", self.spiky("warned", "warn")).stdout
        self.assertRegex(output, r"step \d+: the loss [\d.]+ is a spike, [\d.]+ times the spread")
        self.assertEqual(self.metrics("warned")[-1]["skipped_steps"], 0)
        self.run_program("train", self.spiky("unwatched", "off"))
        self.assertEqual(self.losses("warned"), self.losses("unwatched"))

    def test_skipping_is_the_same_after_resuming(self):
        output = self.run_program("train", self.spiky("whole", "skip"), ranks=2).stdout
        first = int(re.search(r"step (\d+): the loss [\d.]+ is a spike, .*; step skipped", output).group(1))
        self.assertGreater(first, 10)
        halves = self.spiky("halves", "skip")
        self.run_program("train", halves, "--stop-after", first - 1, ranks=2)
        output = self.run_program("train", halves, ranks=2).stdout
        self.assertIn(f"step {first}: the loss", output)
        self.assert_same_checkpoint("whole", "halves", 90)
        self.assertGreater(self.metrics("halves")[-1]["skipped_steps"], 0)


class Files(FaultTest):
    """Metrics, log and run directory when the disk does not do as it should."""

    def whole_lines(self, path):
        """The file's lines, as soon as none is torn."""
        deadline = time.monotonic() + TIMEOUT
        while not (content := path.read_text(encoding="utf-8")).endswith("\n"):
            self.assertLess(time.monotonic(), deadline, f"{path}: a torn line stays")
        return content.splitlines()

    def test_disk_full_for_a_while(self):
        config = self.config("full", train={"steps": 100000})
        run = self.folder / "full"
        run.mkdir()
        mount = f"mount -t tmpfs -o size=2m tmpfs {run} && exec {PROGRAM} train {config}"
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=environment())
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        inside = pathlib.Path(f"/proc/{process.pid}/root{run}")  # as the process sees it
        try:
            self.wait_for_step(inside, 5)
        except self.failureException:
            if process.poll() is not None and "unshare" in process.stdout.read():
                self.skipTest("may not mount a file system of its own")
            raise
        filler = inside / "filler"
        with self.assertRaises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        output = ""
        while "metrics.jsonl: cannot be written" not in output:
            line = process.stdout.readline()
            self.assertTrue(line, output)
            output += line
        # Every later line is tried, too, and what the disk took of it cut off again.
        before = json.loads(self.whole_lines(inside / "metrics.jsonl")[-1])["step"]
        self.whole_lines(inside / "train.log")
        filler.unlink()
        self.wait_for_step(inside, before + 20)
        steps = [line["step"] for line in self.metrics(inside)]
        self.assertEqual(steps, list(range(1, steps[-1] + 1)))
        process.terminate()
        output += self.finish(process, 143)
        self.assertIn("metrics.jsonl: cannot be written: No space left on device; lines are kept", output)
        self.assertRegex(output, r"metrics\.jsonl: can be written again, \d+ lines caught up")

    def test_run_directory_removed(self):
        config, process = self.start_run("removed", "train.watchdog_timeout=3", step=5)
        run = self.folder / "removed"
        run.rename(self.folder / "gone")
        deadline = time.monotonic() + TIMEOUT
        while not (run / "lock").exists() or not (run / "lock").read_text():  # put back with the next heartbeat
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.wait_for_step("removed", 30)
        error = self.run_program("train", config, expect=2).stderr  # locked anew
        self.assertIn("is being trained in by process", error)
        os.kill(self.ranks_of(config)[0], signal.SIGTERM)
        output = self.finish(process, 143)
        self.assertIn("has been removed or replaced; begun again", output)
        step = self.metrics("removed")[-1]["step"]
        self.assertEqual(self.manifest("removed", step)["step"], step)
        self.run_program("train", config, *ENDLESS, "--stop-after", step + 2, ranks=2)

    def test_killed_again_and_again_leaves_whole_lines(self):
        config = self.config("torn", checkpoint={"every": 5})
        for until in (12, 25, 40):
            process = self.start_program("train", config, *ENDLESS)
            self.wait_for_step("torn", until)
            process.kill()
            process.communicate(timeout=TIMEOUT)
            for name in ("metrics.jsonl", "train.log"):  # as a crash of the machine may leave them
                with open(self.folder / "torn" / name, "ab") as file:
                    file.write(b'{"kind":"step","step":1000')
        self.run_program("train", config, *ENDLESS, "--stop-after", 45)
        self.assertEqual([line["step"] for line in self.metrics("torn")], list(range(1, 46)))
        for line in (self.folder / "torn" / "train.log").read_text(encoding="utf-8").splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")

    def test_read_only(self):
        run = self.folder / "read-only"
        run.mkdir()
        config = self.config("read-only")
        mount = f"mount --bind {run} {run} && mount -o remount,bind,ro {run} && exec {PROGRAM} train {config}"
        result = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True, env=environment(),
                                timeout=TIMEOUT, check=False)
        if "unshare" in result.stderr or "mount:" in result.stderr:
            self.skipTest("may not mount a file system of its own")
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn(f"{run}/lock: cannot be opened: Read-only file system", result.stderr)


if __name__ == "__main__":
    unittest.main()

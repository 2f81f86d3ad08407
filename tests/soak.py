#!/usr/bin/env python3
"""A training run that is disturbed again and again, and has to end with the bits of one that was left alone.

  PALIMPSEST=build/release/palimpsest tests/soak.py --disturbances 100
  PALIMPSEST=build/release/palimpsest tests/soak.py --minutes 60 --ranks 4 --seed 7

Each attempt resumes from the newest checkpoint and is hit at a random moment: a rank, or all of them and mpirun, killed
while a checkpoint is being saved or at any time; a rank stopped, which the watchdog has to end; SIGTERM, SIGINT or
SIGUSR1 to a rank, all ranks or mpirun. After each of them no process may be left, the exit code has to be one
that docs/operations.md lists for it, and metrics.jsonl has to be whole up to the next resumption. Prints what it did
and ends with 0 when parameters, optimizer, memory and metrics are equal. Python's h5py is needed.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "end_to_end"))
from harness import EndToEndTest  # noqa: E402

SECONDS_TO_END = 60
STEPS = ("--set", "train.steps=1000000")


class Soak(EndToEndTest):
    def attempt(self, config, ranks, dice):
        """Resumes the run, disturbs it once; what was done, and the exit code."""
        resumed, left = self.resumptions(), self.unfinished()
        process = self.start_program("train", config, *STEPS, ranks=ranks)
        try:
            first = self.newest_step()
            self.wait_until(process, lambda: len(self.ranks_of(config)) == ranks)
            steps = dice.randrange(-1, 25)  # further than the last checkpoint; -1: before it has been loaded
            if steps >= 0:
                self.wait_until(process, lambda: self.resumptions() > resumed)
                self.wait_until(process, lambda: self.newest_line() >= first + steps)
            kind = dice.choice(["killed during a save"] * 4 + ["killed"] * 3 + ["stopped"] + ["asked"] * 3)
            if kind == "killed during a save":
                self.wait_until(process, lambda: self.unfinished() - left)
                time.sleep(dice.choice([0, 0, 0.002, 0.01]))
            pids = self.ranks_of(config)
            if len(pids) < ranks:
                return "ended before it was disturbed", process.wait(SECONDS_TO_END)
            one = dice.choice(pids)
            if kind == "stopped":
                # Earlier than that nobody but a ten minutes' guard of the start would notice.
                self.wait_until(process, lambda: self.beating() == pids)
                os.kill(one, signal.SIGSTOP)
                return "a rank stopped", process.wait(SECONDS_TO_END)
            if kind == "asked":
                number = dice.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
                whom, targets = dice.choice([("a rank", [one]), ("all ranks", pids), ("mpirun", [process.pid])])
                self.send(number, targets)
                return f"{number.name} to {whom}", process.wait(SECONDS_TO_END)
            whom, targets = dice.choice([("a rank", [one]), ("all ranks", pids), ("everything", [process.pid, *pids])])
            self.send(signal.SIGKILL, targets)
            return f"{whom} {kind}", process.wait(SECONDS_TO_END)
        finally:
            process.stdout.close()
            self.gone(config)

    def beating(self):
        """The processes whose heartbeats there are."""
        paths = sorted(self.folder.glob("soak/heartbeats/*.json"))
        try:
            return [json.loads(path.read_text())["pid"] for path in paths]
        except ValueError:  # just being written
            return []

    @staticmethod
    def send(number, targets):
        for pid in targets:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def wait_until(self, process, true):
        deadline = time.monotonic() + SECONDS_TO_END
        while process.poll() is None and not true():
            self.assertLess(time.monotonic(), deadline, "no progress")
            time.sleep(0.002)

    def gone(self, config):
        deadline = time.monotonic() + SECONDS_TO_END
        while self.ranks_of(config):
            self.assertLess(time.monotonic(), deadline, "ranks are left")
            time.sleep(0.01)

    def resumptions(self):
        path = self.folder / "soak" / "train.log"
        return path.read_text(encoding="utf-8").count("  plan  ") if path.exists() else 0

    def unfinished(self):
        """Saves under way, and those that were interrupted."""
        try:
            return {entry.inode() for entry in os.scandir(self.folder / "soak" / "checkpoints") if entry.name.startswith(".tmp-step-")}
        except FileNotFoundError:
            return set()

    def newest_step(self):
        names = [path.name.removeprefix("step-") for path in self.folder.glob("soak/checkpoints/step-*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def newest_line(self):
        path = self.folder / "soak" / "metrics.jsonl"
        lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
        return int(lines[-1].partition(b'"step":')[2].partition(b",")[0]) if lines else 0

    def run_soak(self, options):
        dice = random.Random(options.seed)
        every = {"checkpoint": {"every": 5, "keep_last": 3}, "train": {"watchdog_timeout": 5}}
        config = self.config("soak", **every)
        done, codes, started = collections.Counter(), collections.Counter(), time.monotonic()
        while sum(done.values()) < options.disturbances and time.monotonic() - started < 60 * options.minutes:
            what, code = self.attempt(config, options.ranks, dice)
            done[what] += 1
            codes[code] += 1
            allowed = {"a rank stopped": {7}, "ended before it was disturbed": set()}.get(what)
            if allowed is None and what.startswith("SIG"):
                number = signal.Signals[what.split()[0]]
                # mpirun forwards SIGUSR1; on the others it ends the ranks a second later, whatever they do.
                allowed = {128 + number} | ({1} if what.endswith("mpirun") else set())
            elif allowed is None:
                allowed = {137, -9, 1}
            self.assertIn(code, allowed, what)
            print(f"{sum(done.values()):4}  {what}, exit code {code}; newest checkpoint: step {self.newest_step()}", flush=True)
        last = self.newest_step() + 5
        stop = (*STEPS, "--stop-after", last)
        self.run_program("train", config, *stop, ranks=options.ranks)
        self.run_program("train", self.config("quiet", **every), *stop, ranks=options.ranks)
        for name, count in sorted(done.items()):
            print(f"{count:5} x {name}")
        print(f"{sum(done.values())} disturbances in {time.monotonic() - started:.0f} s, exit codes {dict(sorted(codes.items()))}")
        self.assert_same_checkpoint("quiet", "soak", last)
        self.assertEqual(self.losses("quiet"), self.losses("soak"))
        self.assertEqual([line["step"] for line in self.metrics("soak")], list(range(1, last + 1)))
        print(f"step {last}: parameters, optimizer, memory and losses equal those of an undisturbed run, bit for bit")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disturbances", type=int, default=10**9, metavar="N", help="how many at most")
    parser.add_argument("--minutes", type=float, default=10**6, metavar="M", help="for how long at most")
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks of the run (2, 4)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the disturbances")
    options = parser.parse_args()
    Soak.setUpClass()
    try:
        soak = Soak()
        soak.run_soak(options)
        soak.doCleanups()
    finally:
        Soak.doClassCleanups()


if __name__ == "__main__":
    main()

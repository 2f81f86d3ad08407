#!/usr/bin/env python3
"""Keeps a training run going: starts it with launch/run.sh and, when it fails, starts it again from its last
checkpoint, on the machines that still answer.

  launch/scripts/supervise.py [OPTION]... [OPTION OF launch/run.sh]... -- train CONFIG [OPTION OF palimpsest train]...

  launch/scripts/supervise.py --ranks-per-node 2 -- train run.yaml
  launch/scripts/supervise.py --hosts a,b,c,d --threads 16 --max-restarts 10 -- train run.yaml

With --hosts or --hostfile every machine is asked before each start whether it answers (through ssh, or what
OMPI_MCA_plm_rsh_agent names). Those that do not are left out, together with as many others as it takes for the
batch to be shared evenly; they are taken back when they answer again.

Not restarted: a run that is done (exit code 0), was asked to stop (130, 138, 143), has a wrong configuration
(2) or a loss that is not finite (5), or fails on a file (3, 4) without having saved a checkpoint since it was started.
Nor one that train.time_limit has stopped (8): its caller decides when there is time again. The limit counts from the
start of this program, over all attempts.
Everything else is, a launcher that ends before the last step and calls that success included, after a pause that doubles each time, and given up after --max-restarts restarts in a row without a
new checkpoint. SIGINT, SIGTERM, SIGHUP and SIGUSR1 are passed on. The exit code is that of the last attempt.
"""
import argparse
import datetime
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

RUN = pathlib.Path(__file__).resolve().parents[1] / "run.sh"
CONFIGURATION, INPUT, OUTPUT, NOT_FINITE, TIME_LIMIT = 2, 3, 4, 5, 8
STOPPED = {128 + number for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)}
SECONDS_TO_ANSWER = 15


def say(text):
    print(f"supervise: {datetime.datetime.now():%H:%M:%S} {text}", flush=True)


def fail(text):
    print(f"supervise.py: error: {text}", file=sys.stderr)
    raise SystemExit(CONFIGURATION)


def plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Supervisor:
    def __init__(self, options, launch_options, train):
        self.options = options
        self.launch_options = launch_options
        self.train = train
        self.child = None
        self.signal = None
        self.start = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self.pass_on)
        self.plan = self.read_plan()
        self.ranks_per_node = options.ranks_per_node or self.default_ranks()

    def pass_on(self, number, _frame):
        self.signal = number
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def command(self, *options, train):
        return [RUN, *self.launch_options, *options, "--", *train]

    def answer(self, command):
        """What run.sh or the program prints; a wrong configuration ends here."""
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, check=False)
        if result.returncode != 0:
            raise SystemExit(result.returncode)
        return json.loads(result.stdout)

    def read_plan(self):
        """What the program says about the run."""
        return self.answer(self.command("--launcher", "none", train=[*self.train, "--plan"]))

    def default_ranks(self):
        """The ranks that run.sh would start on each machine."""
        hosts = ("--hosts", ",".join(self.options.hosts)) if self.options.hosts else ()
        return self.answer(self.command(*hosts, "--print-ranks", train=self.train))

    def newest_step(self):
        """The step of the newest checkpoint; -1 if there is none."""
        folder = pathlib.Path(self.plan["run_directory"]) / "checkpoints"
        steps = [path.name.removeprefix("step-") for path in folder.glob("step-*")]
        return max((int(step) for step in steps if step.isdigit()), default=-1)

    def last_signs_of_life(self):
        """What the ranks of a failed attempt were doing, as far as their heartbeats tell."""
        signs = []
        for path in sorted((pathlib.Path(self.plan["run_directory"]) / "heartbeats").glob("rank-*.json")):
            try:
                beat = json.loads(path.read_text(encoding="utf-8"))
                signs.append(f"rank {beat['rank']} on {beat['host']}: step {beat['step']}, {beat['phase']}{', waiting for others' if beat['waiting'] else ''}")
            except (OSError, ValueError, KeyError, TypeError):
                continue
        shown = signs[:16] + ([f"and {len(signs) - 16} more"] if len(signs) > 16 else [])
        return "; ".join(shown)

    def answering_hosts(self):
        agent = shlex.split(os.environ.get("OMPI_MCA_plm_rsh_agent", "ssh -o BatchMode=yes -o ConnectTimeout=10"))
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            probes = {host: subprocess.Popen([*agent, host, "true"], **quiet) for host in self.options.hosts}
        except OSError as error:
            fail(f"{agent[0]}, which reaches the machines, cannot be started: {error.strerror}")
        answering = []
        for host, probe in probes.items():
            try:
                code = probe.wait(timeout=SECONDS_TO_ANSWER)
            except subprocess.TimeoutExpired:
                probe.kill()
                code = probe.wait()
            if code == 0:
                answering.append(host)
            else:
                say(f"{host} does not answer")
        return answering

    def choose_hosts(self):
        """The most answering machines that the batch can be shared by; empty if there are none."""
        answering = self.answering_hosts()
        for count in range(len(answering), 0, -1):
            if count * self.ranks_per_node in self.plan["ranks"]:
                if count < len(answering):
                    say(f"{', '.join(answering[count:])} left out: train.batch_size {self.plan['batch_size']} can be "
                        f"shared by {', '.join(map(str, self.plan['ranks']))} ranks")
                return answering[:count]
        if answering == self.options.hosts:
            fail(f"no number of these machines with {plural(self.ranks_per_node, 'rank')} each can share "
                 f"train.batch_size {self.plan['batch_size']}: possible are {', '.join(map(str, self.plan['ranks']))} ranks")
        return []

    def attempt(self, number):
        """Runs once; the exit code, or None if there was no machine to run on."""
        options, where = [], ""
        if self.options.hosts:
            hosts = self.choose_hosts()
            if not hosts:
                say("no machine to run on")
                return None
            options = ["--hosts", ",".join(hosts)]
            where = f" on {plural(len(hosts), 'host')}, {', '.join(hosts)}"
        step = self.newest_step()
        say(f"attempt {number}{where}, {'from the start' if step < 0 else f'from the checkpoint of step {step}'}")
        if self.signal is None:
            # In a session of its own, so that a Ctrl-C reaches it once: passed on by this program.
            train = [*self.train, *self.time_left()]
            self.child = subprocess.Popen(self.command("--ranks-per-node", str(self.ranks_per_node), *options, train=train), start_new_session=True)
            if self.signal is not None:  # it came while the child was being started
                self.child.send_signal(self.signal)
            code = self.child.wait()
            return 128 - code if code < 0 else code
        return 128 + self.signal

    def time_left(self):
        """What of train.time_limit an attempt has, as an option of palimpsest train."""
        if self.plan["time_limit"] == 0:
            return []
        seconds = max(1.0, self.plan["time_limit"] - (time.monotonic() - self.start))
        return ["--set", f"train.time_limit={seconds:.3f}"]

    def pause(self, seconds):
        if seconds > 0 and self.signal is None:
            say(f"next attempt in {seconds:g} s")
            deadline = time.monotonic() + seconds
            while self.signal is None and time.monotonic() < deadline:
                time.sleep(min(0.2, seconds))

    def run(self):
        number, failures = 0, 0
        while True:
            number += 1
            before = self.newest_step()
            code = self.attempt(number)
            progress = self.newest_step() > before
            if code == 0 and self.newest_step() >= self.plan["last_step"]:
                say("done")
                return 0
            if self.signal is not None or code in STOPPED:
                say(f"stopped on request, exit code {code}")
                return code
            if code == TIME_LIMIT:
                say(f"stopped by train.time_limit, exit code {code}; start again to go on")
                return code
            if code in (CONFIGURATION, NOT_FINITE) or (code in (INPUT, OUTPUT) and not progress):
                say(f"failed with exit code {code}, which starting again does not mend")
                return code
            failures = 1 if progress else failures + 1
            if code is not None:
                failed = f"failed with exit code {code}" if code else "ended before the last step"
                say(f"{failed}, {'after' if progress else 'without'} a new checkpoint")
                if signs := self.last_signs_of_life():
                    say(f"last signs of life: {signs}")
            if failures > self.options.max_restarts:
                say(f"given up after {plural(self.options.max_restarts, 'restart')} in a row without progress")
                return code or 1
            self.pause(min(self.options.pause * 2 ** (failures - 1), self.options.max_pause))
            if self.signal is not None:
                say("stopped on request while waiting")
                return 128 + self.signal


def at_least(kind, minimum):
    def convert(text):
        value = kind(text)
        if value < minimum:
            raise ValueError
        return value

    convert.__name__ = f"number of at least {minimum}"
    return convert


def read_hosts(options):
    hosts = (options.hosts or "").split(",")
    if options.hostfile:
        try:
            lines = pathlib.Path(options.hostfile).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            fail(f"--hostfile: {options.hostfile}: {error.strerror}")
        hosts = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not hosts:
            fail(f"--hostfile: {options.hostfile} names no host")
    return [host for host in hosts if host]


def main():
    if "--" not in sys.argv and not {"-h", "--help"} & set(sys.argv):
        fail("-- and the arguments of palimpsest are missing (see --help)")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, train = sys.argv[1:split], sys.argv[split + 1:]
    parser = argparse.ArgumentParser(prog="supervise.py", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--hosts", metavar="A,B,...", help="the machines (default: those of run.sh, none being probed)")
    parser.add_argument("--hostfile", metavar="FILE", help="the same, the first word of each line")
    parser.add_argument("--ranks-per-node", type=at_least(int, 1), metavar="N",
                        help="ranks on each machine (default: that of run.sh)")
    parser.add_argument("--max-restarts", type=at_least(int, 0), metavar="N", default=5,
                        help="restarts in a row without a new checkpoint (default: 5)")
    parser.add_argument("--pause", type=at_least(float, 0), metavar="SECONDS", default=10,
                        help="before the first restart; doubles with each one without progress (default: 10)")
    parser.add_argument("--max-pause", type=at_least(float, 0), metavar="SECONDS", default=600,
                        help="the longest pause (default: 600)")
    options, launch_options = parser.parse_known_args(own)
    if not train or train[0] != "train":
        fail("after -- comes what to keep going, as in: -- train run.yaml")
    options.hosts = read_hosts(options)
    return Supervisor(options, launch_options, train).run()


if __name__ == "__main__":
    sys.exit(main())

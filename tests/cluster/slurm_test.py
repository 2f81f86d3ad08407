#!/usr/bin/env python3
"""A real Slurm on this machine, with two nodes, and training jobs through launch/slurm.sbatch: one is pre-empted, queued
again by hand and stopped as before its time limit, one stops by its own train.time_limit; they have to end with the same
bits as one that nothing disturbed.

  PALIMPSEST=build/release/palimpsest tests/cluster/slurm_test.py        as root; takes two minutes

Needs Debian's slurm-wlm and munge, and installs them where they are missing. Everything that it starts runs in the
foreground with files in a temporary directory, and is stopped at the end; the system's own Slurm is not touched.
"""
import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

if "PALIMPSEST" not in os.environ:
    sys.exit("slurm_test.py: set PALIMPSEST to the program")
os.environ["PALIMPSEST"] = os.path.abspath(os.environ["PALIMPSEST"])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))

from harness import PROGRAM, SOURCE, EndToEndTest, environment

STEPS = 240
SECONDS = 60  # for whatever is waited for

# Two nodes of one core each that are this machine. TmpFS is where the PMIx plugins of both would use the same folder. Requeued jobs wait for cred_expire before they may start again.
SLURM_CONF = """\
ClusterName=palimpsest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=30
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=1
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=30 MaxTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=60
"""


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def install():
    """The packages of the group cluster, where one of them is missing."""
    lines = (SOURCE / "launch" / "packages.txt").read_text(encoding="utf-8").splitlines()
    packages = [line.split()[1] for line in lines if line.startswith("cluster ")]
    query = subprocess.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}\\n", *packages], capture_output=True,
                           text=True, check=False)
    if query.stdout.split().count("installed") < len(packages):
        say(f"installing {' '.join(packages)}")
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True,
                       stdout=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


class Slurm:
    """munged, slurmctld and two slurmd, as long as the object is not closed."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        munge = folder / "munge"
        munge.mkdir()
        key = munge / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        for path in (munge, key):
            shutil.chown(path, "munge", "munge")
        (folder / "state").mkdir()
        (folder / "tmp").mkdir()
        self.conf = folder / "slurm.conf"
        self.conf.write_text(SLURM_CONF.format(host=socket.gethostname(), folder=folder, port=free_port(), port1=free_port(),
                                               port2=free_port()))
        self.environment = {name: value for name, value in environment().items() if not name.startswith(("OMP", "SLURM_"))}
        self.environment |= {"SLURM_CONF": str(self.conf), "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
                             "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo", "PATH": os.environ["PATH"] + ":/usr/sbin"}
        self.start("munged", "runuser", "-u", "munge", "--", "munged", "--foreground", "--force", f"--socket={munge}/socket",
                   f"--key-file={key}", f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self.start("slurmctld", "slurmctld", "-D")
        for node in ("n1", "n2"):
            private = f"mount -t tmpfs none {folder}/tmp && exec slurmd -D -N {node}"
            self.start(node, "unshare", "--mount", "sh", "-c", private)
        atexit.register(self.close)  # an interrupted test skips its own cleanup

    def start(self, name, *command):
        with open(self.folder / f"{name}.out", "wb") as output:
            self.daemons.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment))

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def run(self, *command, **more):
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=self.environment | more,
                                cwd=SOURCE, check=False, timeout=60)
        return result.stdout + result.stderr

    def nodes_idle(self):
        return self.run("sinfo", "-h", "-p", "low", "-o", "%T %D").strip() == "idle 2"

    def submit(self, *arguments, **more):
        answer = self.run("sbatch", "--parsable", *arguments, **more).strip()
        if not answer.isdigit():
            raise RuntimeError(f"sbatch said: {answer}")
        return answer

    def job(self, number):
        """State, restarts and exit code of a job."""
        text = self.run("scontrol", "show", "job", "-o", number)
        fields = dict(field.split("=", 1) for field in text.split() if "=" in field)
        return fields.get("JobState"), int(fields.get("Restarts", -1)), fields.get("ExitCode")


class SlurmTest(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root")
        super().setUpClass()
        install()
        cls.slurm_folder = pathlib.Path(tempfile.mkdtemp(prefix="palimpsest-slurm-"))
        cls.addClassCleanup(shutil.rmtree, cls.slurm_folder, ignore_errors=True)
        cls.slurm_folder.chmod(0o755)
        cls.slurm = Slurm(cls.slurm_folder)
        cls.addClassCleanup(cls.slurm.close)
        cls.addClassCleanup(lambda: cls.slurm.run("scancel", "--full", "--signal=KILL", "--partition=low"))
        deadline = time.monotonic() + SECONDS
        while not cls.slurm.nodes_idle():
            if time.monotonic() > deadline:
                logs = "".join((cls.slurm_folder / f"{name}.out").read_text()[-2000:] for name in ("munged", "slurmctld", "n1"))
                raise RuntimeError(f"Slurm did not start:\n{cls.slurm.run('sinfo')}\n{logs}")
            time.sleep(0.5)
        say("Slurm is up: " + cls.slurm.run("sinfo", "-h", "-p", "low", "-N", "-o", "%N %T").replace("\n", "  "))

    def train(self, run, **sections):
        """Submits a training job of two nodes; its number and the file that it prints to."""
        train = {"steps": STEPS, "sequence_length": 512} | sections.pop("train", {})
        config = self.config(run, train=train, checkpoint={"every": 100000}, **sections)
        output = self.folder / f"{run}.out"
        number = self.slurm.submit("--partition=low", "--nodes=2", "--cpus-per-task=1", "--time=30", f"--output={output}",
                                   "launch/slurm.sbatch", config, PALIMPSEST_SUPERVISE=f"--program {PROGRAM}")
        say(f"{run}: job {number} submitted")
        return number, output

    def wait(self, what, condition, output=None):
        deadline = time.monotonic() + SECONDS
        while not (result := condition()):
            if time.monotonic() > deadline:
                printed = output.read_text() if output and output.exists() else ""
                self.fail(f"no {what} after {SECONDS} s\n{self.slurm.run('squeue')}\n{printed}")
            time.sleep(0.2)
        return result

    def steps_of(self, run):
        metrics = self.metrics(run)
        return metrics[-1]["step"] if metrics else 0

    def wait_for_state(self, number, state, output):
        self.wait(f"job {number} {state}", lambda: self.slurm.job(number)[0] == state, output)
        say(f"job {number} {state}, restarts {self.slurm.job(number)[1]}")

    def test_interrupted_job_ends_with_the_same_bits(self):
        model = {"hidden_size": 64, "num_layers": 4, "ffn_size": 192}
        whole, whole_output = self.train("undisturbed", model=model)
        self.wait_for_state(whole, "RUNNING", whole_output)
        start = time.monotonic()
        self.wait_for_state(whole, "COMPLETED", whole_output)
        seconds = time.monotonic() - start

        job, output = self.train("disturbed", model=model)

        def reach(step):
            self.wait(f"step {step}", lambda: self.steps_of("disturbed") >= step, output)

        # Each interruption with what follows from it: the job leaves with a checkpoint, waits, and starts again.
        reach(40)
        urgent = self.slurm.submit("--partition=high", "--nodes=2", "--output=/dev/null", "--wrap=srun sleep 3")
        say(f"step {self.steps_of('disturbed')}: job {urgent} of a higher priority submitted: it pre-empts job {job}")
        self.wait_for_state(urgent, "COMPLETED", output)
        self.assertEqual(self.slurm.job(job)[1], 1)
        reach(self.steps_of("disturbed") + 40)

        say(f"step {self.steps_of('disturbed')}: scontrol requeue {job}")
        self.slurm.run("scontrol", "requeue", job)
        self.wait("second restart", lambda: self.slurm.job(job)[:2] == ("RUNNING", 2), output)
        reach(self.steps_of("disturbed") + 40)

        say(f"step {self.steps_of('disturbed')}: SIGUSR1 to the batch script, as --signal sends before the time limit")
        self.slurm.run("scancel", "--batch", "--signal=USR1", job)
        self.wait("third restart", lambda: self.slurm.job(job)[:2] == ("RUNNING", 3), output)
        self.wait_for_state(job, "COMPLETED", output)

        print(re.sub(r"(?m)^step \d+/.*\n", "", output.read_text()), flush=True)
        self.assertEqual(self.slurm.job(job)[2], "0:0")
        printed = output.read_text()
        self.assertEqual(len(re.findall(r"(?m)^Resuming from", printed)), 3, printed)
        self.assert_same_checkpoint("undisturbed", "disturbed", STEPS)
        self.assertEqual([line["step"] for line in self.metrics("disturbed")], list(range(1, STEPS + 1)))
        self.assertEqual(self.losses("undisturbed"), self.losses("disturbed"))
        say(f"parameters, optimizer, memory and {STEPS} losses are equal, bit for bit")

        # Half of the time that the whole run takes: at least one stop with exit code 8, as often as it needs.
        limited, output = self.train("limited", model=model, train={"time_limit": round(seconds / 2, 1)})
        self.wait("first restart", lambda: self.slurm.job(limited)[1] >= 1, output)
        self.wait_for_state(limited, "COMPLETED", output)
        printed = output.read_text()
        print(re.sub(r"(?m)^step \d+/.*\n", "", printed), flush=True)
        self.assertIn("Stopped by train.time_limit", printed)
        self.assertRegex(printed, rf"slurm.sbatch: stopped with a checkpoint; job {limited} is queued again")
        self.assertEqual(len(re.findall(r"(?m)^Resuming from", printed)), self.slurm.job(limited)[1])
        self.assert_same_checkpoint("undisturbed", "limited", STEPS)
        self.assertEqual(self.losses("undisturbed"), self.losses("limited"))
        say(f"stopped by its own time limit and queued again {self.slurm.job(limited)[1]} times, the same bits")

    def test_mpirun_inside_a_job(self):
        config = self.config("mpirun", train={"steps": 20})
        output = self.folder / "mpirun.out"
        job = self.slurm.submit("--partition=low", "--nodes=1", f"--output={output}",
                                f"--wrap=launch/run.sh --program {PROGRAM} --launcher mpirun --bind none --ranks-per-node 2 --threads 1 -- train {config}")
        self.wait_for_state(job, "COMPLETED", output)
        self.assertIn("2 MPI ranks on 1 host", output.read_text())

    def test_a_failing_rank_is_named_and_ends_the_job(self):
        program = self.folder / "rank-1-misses-a-file"
        program.write_text('#!/bin/sh\n[ "$SLURM_PROCID" = 1 ] && set -- "$@" --set data.train=/no/such/file.h5\n'
                           f'exec {PROGRAM} "$@"\n')
        program.chmod(0o755)
        config, output = self.config("rank-fails"), self.folder / "rank-fails.out"
        job = self.slurm.submit("--partition=low", "--nodes=2", f"--output={output}",
                                f"--wrap=launch/run.sh --program {program} --threads 1 -- train {config}")
        self.wait_for_state(job, "FAILED", output)
        self.assertRegex(output.read_text(), r"palimpsest: error: rank 1 of 2 on \S+: /no/such/file.h5")
        self.assertEqual(self.slurm.job(job)[2], "3:0", output.read_text())

    def test_wrong_configuration_fails_and_is_not_queued_again(self):
        job, output = self.train("wrong", optimizer={"learning_rate": "fast"})
        self.wait_for_state(job, "FAILED", output)
        self.assertEqual(self.slurm.job(job)[1:], (0, "2:0"))
        self.assertIn("optimizer.learning_rate", output.read_text())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unittest.main(verbosity=2)

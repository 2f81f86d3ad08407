"""The launch scripts with real mpirun: binding, signals, failing ranks, and the supervisor that starts again."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import textwrap
import unittest

from harness import PROGRAM, SOURCE, TIMEOUT, EndToEndTest, environment, faults

RUN = SOURCE / "launch" / "run.sh"
SUPERVISE = SOURCE / "launch" / "scripts" / "supervise.py"
CORES = len(os.sched_getaffinity(0))
HOST = socket.gethostname()


def start(*command, **variables):
    """A launch script as users start it: without the settings that the harness makes for mpirun."""
    clean = {name: value for name, value in environment().items() if not name.startswith(("OMP", "SLURM_"))}
    # Containers forbid the system call that Open MPI's shared memory would use; more ranks than cores must not spin.
    clean |= {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}
    # Whoever runs the tests in the background has made them ignore SIGINT.
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL, env=clean | variables,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


class LaunchTest(EndToEndTest):
    def launch(self, *command, expect=0, **variables):
        process = start(*command, **variables)
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, expect, f"{command}\n{output}\n{errors}")
        return output, errors

    def script(self, name, body):
        """A program to start in palimpsest's place; `body` is shell, with $PALIMPSEST for the real one."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nPALIMPSEST={PROGRAM}\n{textwrap.dedent(body)}", encoding="utf-8")
        path.chmod(0o755)
        return path


class Run(LaunchTest):
    def dry(self, *options, **variables):
        return self.launch(RUN, "--dry-run", "--program", PROGRAM, *options, "--", "train", "a b.yaml", **variables)[0]

    def test_help_and_what_is_wrong(self):
        self.assertIn("--ranks-per-node N", self.launch(RUN, "--help")[0])
        empty = self.folder / "empty-hosts"
        empty.write_text("# none\n", encoding="utf-8")
        wrong = {
            ("train", "run.yaml"): "unknown option train",
            ("--hosts", "a"): "-- and the arguments of palimpsest are missing",
            ("--",): "after -- come the arguments",
            ("--threads",): "--threads needs a value",
            ("--threads", "0", "--", "x"): "--threads must be a whole number of at least 1, not '0'",
            ("--ranks-per-node", "two", "--", "x"): "--ranks-per-node must be a whole number",
            ("--hosts", "a,,b", "--", "x"): "--hosts must be names with commas between",
            ("--hostfile", "/no/such/file", "--", "x"): "cannot read /no/such/file",
            ("--hostfile", empty, "--", "x"): "names no host",
            ("--bind", "socket", "--", "x"): "--bind must be core or none",
            ("--launcher", "rsh", "--", "x"): "--launcher must be mpirun, srun or none, not 'rsh'",
            ("--program", "/etc", "--", "x"): "/etc is not a program",
            ("--ranks-per-node", CORES, "--threads", "2", "--", "x"): f"need {2 * CORES} cores, this machine has",
        }
        for arguments, message in wrong.items():
            with self.subTest(arguments):
                program = () if "--program" in arguments else ("--program", PROGRAM)
                output, errors = self.launch(RUN, *program, *arguments, expect=2)
                self.assertIn(message, errors)
                self.assertTrue(errors.startswith("run.sh: error: "))
                self.assertEqual(output, "")

    def test_commands(self):
        hostfile = self.folder / "hosts"
        hostfile.write_text("# two machines\nnode1 slots=8\n\nnode2\n", encoding="utf-8")
        line = self.dry("--hostfile", hostfile, "--ranks-per-node", 2, "--threads", 4, "--interface", "10.0.0.0/24")
        for part in ("OMP_NUM_THREADS=4 ", "--map-by ppr:2:node:pe=4 --bind-to core", r"--host node1:8\,node2:8 ",
                     "OMPI_MCA_btl_tcp_if_include=10.0.0.0/24", f"{PROGRAM} train a\\ b.yaml"):
            self.assertIn(part, line)
        self.assertIn("--bind-to none --oversubscribe", self.dry("--bind", "none", "--threads", 99))
        self.assertRegex(self.dry("--launcher", "none"), rf"^env OMP_NUM_THREADS=\d+ {re.escape(PROGRAM)} train")
        # Inside a Slurm job its numbers are the defaults.
        self.assertIn("ppr:3:node:pe=5", self.dry("--launcher", "mpirun", SLURM_JOB_ID="1", SLURM_NTASKS_PER_NODE="3",
                                                  SLURM_CPUS_PER_TASK="5"))

    def test_a_rank_for_each_numa_node(self):
        if CORES < 2:
            self.skipTest("needs two cores")
        # A machine with a NUMA node for each core, as far as lscpu tells, and with a core that this process may not use.
        tools = self.folder / "two-nodes"
        tools.mkdir()
        (tools / "lscpu").write_text("#!/bin/sh\n/usr/bin/lscpu --parse=CPU,CORE\necho 9999,9999\n", encoding="utf-8")
        (tools / "lscpu").chmod(0o755)
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}

        def ranks(*command, options=(), **variables):
            return int(self.launch(RUN, "--print-ranks", "--program", PROGRAM, *options, "--", *command, **path, **variables)[0])

        cores = int(re.search(r"ppr:1:node:pe=(\d+) ", self.dry("--ranks-per-node", 1, **path))[1])
        fits, odd = self.config("fits", train={"batch_size": cores}), self.config("odd", train={"batch_size": 1})
        self.assertEqual(ranks("train", fits), cores)
        self.assertIn(f"ppr:{cores}:node:pe=1 ", self.launch(RUN, "--dry-run", "--program", PROGRAM, "--", "train", fits, **path)[0])
        self.assertEqual(ranks("eval", fits), cores)
        self.assertEqual(ranks("train", odd), 1)
        self.assertEqual(ranks("train", fits, options=("--hosts", "a,b,c")), 1)
        self.assertEqual(ranks("generate", fits), 1)
        self.assertEqual(ranks("train", fits, options=("--threads", 1)), 1)
        self.assertEqual(ranks("train", fits, SLURM_CPUS_PER_TASK="1"), 1)
        self.assertIn(f"env OMP_NUM_THREADS={cores} ", self.dry("--launcher", "none", **path))

    def test_missing_mpirun(self):
        tools = self.folder / "tools"
        tools.mkdir()
        for tool in ("bash", "dirname", "realpath", "env", "taskset", "lscpu", "grep", "true", "sort", "wc", "id"):
            (tools / tool).symlink_to(f"/usr/bin/{tool}")
        _, errors = self.launch(RUN, "--program", PROGRAM, "--", "train", "x", expect=2, PATH=str(tools))
        self.assertIn("mpirun is not there: install Debian's openmpi-bin", errors)

    def test_ranks_have_cores_of_their_own(self):
        if CORES < 2:
            self.skipTest("needs two cores")
        output, errors = self.launch(RUN, "--program", PROGRAM, "--ranks-per-node", 2, "--threads", 1, "--", "train",
                                     self.config("bound"), "--set", "train.steps=1")
        found = re.search(rf"placement +{re.escape(HOST)}: rank 0 on cores? (\S+) with 1 thread, "
                          r"rank 1 on cores? (\S+) with 1 thread\n", output)
        self.assertIsNotNone(found, output)
        self.assertNotEqual(found[1], found[2])
        self.assertNotIn("warning", output + errors)

    def test_too_many_threads_are_warned_of(self):
        output, _ = self.launch(RUN, "--program", PROGRAM, "--bind", "none", "--ranks-per-node", 2, "--threads", CORES,
                                "--", "train", self.config("crowded"), "--set", "train.threads=0", "train.steps=1")
        self.assertRegex(output, rf"warning: ranks 0-1 on {re.escape(HOST)} share cores? \S+, {CORES} for {2 * CORES} threads")

    def test_terminate_saves_a_checkpoint(self):
        config = self.config("terminated")
        process = start(RUN, "--program", PROGRAM, "--bind", "none", "--ranks-per-node", 2, "--threads", 1, "--", "train",
                        config, "--set", "train.steps=100000")
        self.wait_for_step("terminated", 3)
        process.terminate()
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 138, output + errors)
        self.assertIn("SIGTERM: asking the ranks to save a checkpoint", errors)
        step = self.metrics("terminated")[-1]["step"]
        self.assertEqual(self.manifest("terminated", step)["step"], step)
        self.assertIn("Stopped by SIGUSR1", output)
        self.assertEqual(len(errors.splitlines()), 1, errors)

    def test_a_rank_that_fails_is_named_and_ends_the_job(self):
        program = self.script("rank-1-misses-a-file", """\
            [ "$OMPI_COMM_WORLD_RANK" = 1 ] && set -- "$@" --set data.train=/no/such/file.h5
            exec "$PALIMPSEST" "$@"
            """)
        config = self.config("rank-fails")
        _, errors = self.launch(RUN, "--program", program, "--bind", "none", "--ranks-per-node", 3, "--threads", 1, "--",
                                "train", config, "--set", "train.batch_size=6", expect=3)
        self.assertRegex(errors, rf"palimpsest: error: rank 1 of 3 on {re.escape(HOST)}: /no/such/file\.h5: ")
        self.assertEqual(len(errors.splitlines()), 1, errors)
        self.assertEqual(self.ranks_of(config), [])


class Supervise(LaunchTest):
    def supervise(self, *options, config, program=PROGRAM, arguments=(), expect=0):
        return self.launch(*self.command(*options, config=config, program=program, arguments=arguments), expect=expect)

    def command(self, *options, config, program=PROGRAM, arguments=(), launcher="none"):
        return (SUPERVISE, "--pause", 0, *options, "--program", program, "--bind", "none", "--ranks-per-node", 2,
                "--threads", 1, "--launcher", launcher, "--", "train", config, *arguments)

    def test_killed_rank(self):
        steps = ("--set", "train.steps=40")
        reference, config = self.config("never-killed"), self.config("killed", checkpoint={"every": 10})
        self.run_program("train", reference, *steps, ranks=2)
        # Rank 1 of the first attempt is killed when it begins to write its part of step 20.
        dying = " ".join(f"{key}={value}" for key, value in faults("step-00000020/state-00001", "kill").items())
        program = self.script("killed-once", f"""\
            if [ "$OMPI_COMM_WORLD_RANK" = 1 ] && mkdir "{self.folder}/first-attempt" 2>/dev/null; then
              exec env {dying} "$PALIMPSEST" "$@"
            fi
            exec "$PALIMPSEST" "$@"
            """)
        process = start(*self.command(config=config, program=program, arguments=steps, launcher="mpirun"))
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0, output + errors)
        self.assertRegex(errors, rf"process rank \d with PID \d+ on node {re.escape(HOST)} exited on signal 9")
        self.assertIn("failed with exit code 137, after a new checkpoint", output)
        self.assertRegex(output, rf"last signs of life: rank 0 on {re.escape(HOST)}: step \d+, [a-z ,]+; rank 1 on ")
        self.assertIn("attempt 2, from the checkpoint of step 10\n", output)
        self.assertIn("supervise: ", output.splitlines()[-1])
        self.assert_same_checkpoint("never-killed", "killed", 40)

    def test_gives_up_without_progress(self):
        program = self.script("dies", 'case "$*" in *--plan) exec "$PALIMPSEST" "$@" ;; *) kill -SEGV $$ ;; esac\n')
        output, _ = self.supervise("--max-restarts", 2, config=self.config("dies"), program=program, expect=139)
        self.assertEqual(output.count("failed with exit code 139, without a new checkpoint"), 3)
        self.assertIn("given up after 2 restarts in a row without progress", output)

    def test_an_end_before_the_last_step_is_no_success(self):
        # As srun does when it cannot start all tasks.
        program = self.script("leaves-early", 'case "$*" in *--plan) exec "$PALIMPSEST" "$@" ;; esac\n')
        output, _ = self.supervise("--max-restarts", 0, config=self.config("leaves"), program=program, expect=1)
        self.assertIn("ended before the last step, without a new checkpoint", output)
        output, _ = self.supervise("--max-restarts", 0, config=self.config("leaves"), arguments=("--stop-after", 3))
        self.assertIn("done", output)

    def test_mistakes_are_not_repeated(self):
        config = self.config("mistakes")
        output, errors = self.supervise(config=config, arguments=("--set", "train.batch_size=none"), expect=2)
        self.assertNotIn("attempt", output)
        self.assertIn("train.batch_size", errors)
        output, errors = self.supervise(config=config, arguments=("--set", "model.vocab_size=3"), expect=2)
        self.assertEqual(output.count("attempt"), 1)
        self.assertIn("model.vocab_size is 3, but the tokenizer", errors)
        output, errors = self.supervise(config=config, arguments=("--set", "data.train=/no/such.h5"), expect=3)
        self.assertEqual(output.count("attempt"), 1)
        self.assertIn("failed with exit code 3, which starting again does not mend", output)

    def test_all_attempts_share_the_time_limit(self):
        program = self.script("notes-its-limit", f"""\
            case "$*" in *--plan) exec "$PALIMPSEST" "$@" ;; esac
            echo "$*" >>{self.folder}/limits
            sleep 0.2
            [ "$(wc -l <{self.folder}/limits)" -lt 3 ] || exit 8
            exit 1
            """)
        output, _ = self.supervise(config=self.config("limits"), arguments=("--set", "train.time_limit=0:30:00"),
                                   program=program, expect=8)
        self.assertIn("stopped by train.time_limit, exit code 8", output)
        limits = [float(line.rpartition("train.time_limit=")[2]) for line in (self.folder / "limits").read_text().splitlines()]
        self.assertEqual(len(limits), 3)
        self.assertTrue(1800 > limits[0] > limits[1] + 0.2 > limits[2] + 0.4, limits)

    def test_signals_are_passed_on(self):
        config = self.config("asked")
        process = start(*self.command(config=config, arguments=("--set", "train.steps=100000")))
        self.wait_for_step("asked", 3)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 138, output + errors)
        step = self.metrics("asked")[-1]["step"]
        self.assertEqual(self.manifest("asked", step)["step"], step)
        self.assertIn("stopped on request, exit code 138", output)

    def test_a_signal_ends_the_pause(self):
        program = self.script("dies-at-once", 'case "$*" in *--plan) exec "$PALIMPSEST" "$@" ;; *) exit 1 ;; esac\n')
        process = start(*self.command("--pause", 1000, "--max-pause", 1000, config=self.config("pause"), program=program))
        line = ""
        while "next attempt in 1000 s" not in line:
            line = process.stdout.readline()
            self.assertNotEqual(line, "", "the supervisor ended")
        process.terminate()
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 143)

    def test_machines_that_do_not_answer_are_left_out(self):
        agent = self.script("agent", """\
            [ "$1" != gone ] || exit 255
            shift
            exec sh -c "$*"
            """)
        process = start(SUPERVISE, "--hosts", "localhost,gone,there", "--pause", 0, "--max-restarts", 0, "--program", PROGRAM, "--bind", "none",
                        "--threads", 1, "--", "train", self.config("left-out"), "--set", "train.batch_size=1",
                        OMPI_MCA_plm_rsh_agent=str(agent))
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0, output + errors)
        self.assertIn("gone does not answer", output)
        self.assertIn("there left out: train.batch_size 1 can be shared by 1 ranks", output)
        self.assertIn("attempt 1 on 1 host, localhost, from the start", output)

    def test_options(self):
        self.assertIn("--max-restarts N", self.launch(SUPERVISE, "--help")[0])
        for arguments, message in {
            ("train", "x"): "-- and the arguments of palimpsest are missing",
            ("--", "eval", "x"): "after -- comes what to keep going",
            ("--max-restarts", "-1", "--", "train", "x"): "--max-restarts",
            ("--hostfile", "/no/such", "--", "train", "x"): "/no/such: No such file or directory",
            ("--colour", "red", "--", "train", "x"): "unknown option --colour",
        }.items():
            with self.subTest(arguments):
                self.assertIn(message, self.launch(SUPERVISE, *arguments, expect=2)[1])


class Plan(EndToEndTest):
    def test_plan(self):
        result = self.run_program("train", self.config("plan"), "--set", "train.batch_size=12", "train.micro_batch_size=2", "--plan")
        self.assertEqual(json.loads(result.stdout), {"run_directory": str(self.folder / "plan"), "last_step": 8, "batch_size": 12,
                                                     "ranks": [1, 2, 3, 6], "time_limit": 0})
        self.assertFalse((self.folder / "plan").exists())


if __name__ == "__main__":
    unittest.main()

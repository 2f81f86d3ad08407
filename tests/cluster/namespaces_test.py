#!/usr/bin/env python3
"""Training over several nodes made of network namespaces (namespaces.sh): ranks that talk over TCP compute what ranks of
one machine compute, and a run outlives a node that fails.

  PALIMPSEST=build/release/palimpsest tests/cluster/namespaces_test.py        as root; takes about half a minute
"""
import os
import pathlib
import subprocess
import sys
import unittest

if "PALIMPSEST" not in os.environ:
    sys.exit("namespaces_test.py: set PALIMPSEST to the program")
os.environ["PALIMPSEST"] = os.path.abspath(os.environ["PALIMPSEST"])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))

from harness import PROGRAM, SOURCE, TIMEOUT, EndToEndTest, environment

NAMESPACES = SOURCE / "tests" / "cluster" / "namespaces.sh"
SUPERVISE = SOURCE / "launch" / "scripts" / "supervise.py"
# When a machine that says nothing is given up, in seconds.
IMPATIENT = {"OMPI_MCA_oob_tcp_keepalive_time": "2", "OMPI_MCA_oob_tcp_keepalive_intvl": "1", "OMPI_MCA_oob_tcp_keepalive_probes": "2"}


def clean_environment():
    variables = {name: value for name, value in environment().items() if not name.startswith(("OMP", "SLURM_"))}
    return variables | {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMP_WAIT_POLICY": "passive"}


class Namespaces(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root")
        super().setUpClass()

    def nodes(self, *arguments, expect=0):
        result = subprocess.run([NAMESPACES, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT,
                                env=clean_environment(), check=False)
        self.assertEqual(result.returncode, expect, f"{arguments}\n{result.stdout}\n{result.stderr}")
        return result

    def assert_nothing_left(self):
        self.assertEqual(self.nodes("status").stdout, "")
        links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("pal-", links)

    def test_two_nodes_compute_what_two_local_ranks_compute(self):
        self.run_program("train", self.config("local"), ranks=2)
        result = self.nodes("run", "--nodes", 2, "--rate", "1gbit", "--", PROGRAM, "train", self.config("nodes"))
        self.assertIn("2 MPI ranks on 2 hosts", result.stdout)
        # A core of its own for each, where there are two.
        second = 1 % os.cpu_count()
        self.assertRegex(result.stdout, rf"node1: rank 0 on core 0 with 1 thread\n +node2: rank 1 on core {second} with 1 thread\n")
        self.assertEqual(self.losses("local"), self.losses("nodes"))
        self.assert_same_checkpoint("local", "nodes", 8)
        self.assert_nothing_left()

    def test_four_nodes(self):
        self.run_program("train", self.config("one"))
        result = self.nodes("run", "--nodes", 4, "--", PROGRAM, "train", self.config("four"))
        self.assertIn("4 MPI ranks on 4 hosts", result.stdout)
        self.assert_close(self.losses("one"), self.losses("four"), 1e-5)

    def test_a_failing_rank_on_another_node_is_named(self):
        program = self.folder / "rank-1-misses-a-file"
        program.write_text('#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 1 ] && set -- "$@" --set data.train=/no/such/file.h5\n'
                           f'exec {PROGRAM} "$@"\n')
        program.chmod(0o755)
        error = self.nodes("run", "--", program, "train", self.config("fails"), expect=3).stderr
        self.assertIn("palimpsest: error: rank 1 of 2 on node2: /no/such/file.h5", error)
        self.assert_nothing_left()

    def test_a_signal_ends_the_ranks_before_the_nodes(self):
        process = subprocess.Popen([str(part) for part in (NAMESPACES, "run", "--", PROGRAM, "train", self.config("limited"), "--set",
                                                           "train.steps=100000")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
        self.wait_for_step("limited", 3)
        process.terminate()
        output, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 138, output + errors)
        self.assertEqual(errors, "run.sh: SIGTERM: asking the ranks to save a checkpoint and stop\n")
        step = self.metrics("limited")[-1]["step"]
        self.assertEqual(self.manifest("limited", step)["step"], step)
        self.assert_nothing_left()

    def test_a_run_outlives_a_node(self):
        self.addCleanup(self.nodes, "down")
        self.nodes("up", "--nodes", 2)
        config = self.config("outlives", checkpoint={"every": 20})
        command = [SUPERVISE, "--hosts", "node1,node2", "--pause", "0", "--program", PROGRAM, "--bind", "none", "--threads", "1",
                   "--interface", "10.77.0.0/24", "--", "train", config, "--set", "train.steps=2000"]
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=clean_environment() | {"OMPI_MCA_plm_rsh_agent": f"{NAMESPACES} enter"} | IMPATIENT)
        self.wait_for_step("outlives", 60)
        self.nodes("fail", "node2")
        self.wait_for_step("outlives", 300)
        process.terminate()
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 138, output)
        self.assertIn("attempt 1 on 2 hosts, node1, node2, from the start", output)
        self.assertIn("node2 does not answer", output)
        self.assertRegex(output, r"attempt 2 on 1 host, node1, from the checkpoint of step \d+")
        self.assertRegex(output, r"the checkpoint was written by 2 ranks with 1 thread each on [^,]+, now there are 1 rank")
        steps = [line["step"] for line in self.metrics("outlives")]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))

    def test_what_is_wrong(self):
        for arguments, message in {
            ("lift",): "unknown command lift",
            ("up", "--nodes", "none"): "--nodes must be a whole number from 1 to 99",
            ("up", "--rate", "fast"): "tc cannot hold a link to 'fast'",
            ("run", "--nodes", "2"): "-- and the program are missing",
            ("fail", "node7"): "there is no node node7",
        }.items():
            with self.subTest(arguments):
                self.assertIn(message, self.nodes(*arguments, expect=2).stderr)
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)

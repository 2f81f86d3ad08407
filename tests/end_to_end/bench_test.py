"""palimpsest bench: every subject runs, in both precisions, and its JSON has the keys that scripts rely on."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

from harness import PROGRAM, SOURCE, TIMEOUT, EndToEndTest, environment

SMALL = ("model.vocab_size=64", "model.hidden_size=32", "model.num_layers=2", "model.num_heads=2", "model.ffn_size=48",
         "model.segment_length=16", "train.sequence_length=64")
KEYS = ("tokens_per_second", "model_gflops", "matmul_peak_gflops", "mfu", "peak_memory_bytes", "parameters",
        "precision", "schedule", "threads")


class Bench(EndToEndTest):
    def bench(self, *arguments, settings=(), ranks=1):
        output = self.run_program("bench", self.config("bench"), "--json", "--steps", "2", *arguments, "--set", *SMALL,
                                  *settings, ranks=ranks).stdout
        result = json.loads(output)
        for key in KEYS:
            self.assertIn(key, result)
        self.assertGreater(result["tokens_per_second"], 0)
        self.assertGreater(result["peak_memory_bytes"], 1e6)
        self.assertEqual(len(result["step_processor_seconds"]), len(result["step_seconds"]))
        self.assertGreater(min(result["step_processor_seconds"]), 0)
        return result

    def test_training(self):
        result = self.bench()
        self.assertEqual(result["schedule"], "parallel")
        self.assertEqual(result["precision"], "float32")
        self.assertIn("local attention", result["operators"])
        memory = result["memory"]
        self.assertEqual(memory["optimizer_bytes"], 2 * memory["gradient_bytes"])
        self.assertGreater(memory["step_bytes"], memory["gradient_bytes"])
        self.assertGreaterEqual(memory["committed_bytes"],
                                memory["step_bytes"] + memory["parameter_bytes"] + memory["optimizer_bytes"])
        self.assertEqual(result["hardware_threads"], len(os.sched_getaffinity(0)))
        self.assertGreaterEqual(result["cores"], result["sockets"])
        self.assertIn(f"[{result['huge_pages']}]", pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text("utf-8"))
        self.assertEqual(result["parameters"], 2 * 64 * 32 + 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32 + 2))

    def test_a_bound_process_counts_what_is_its_own(self):
        cores = sorted(os.sched_getaffinity(0))
        # As if each core were a socket with memory of its own.
        machine = {"HWLOC_THISSYSTEM": "1", "HWLOC_SYNTHETIC": f"pack:{cores[-1] + 1} [numa] l3:1 core:1 pu:1"}
        arguments = [PROGRAM, "bench", self.config("bound"), "--json", "--forward", "--steps", "1", "--set", *SMALL]
        for count in {1, len(cores)}:
            words = ["taskset", "-c", ",".join(map(str, cores[:count])), *arguments]
            result = json.loads(subprocess.run(words, capture_output=True, check=True, env=environment() | machine, timeout=TIMEOUT).stdout)
            self.assertEqual([result[key] for key in ("sockets", "numa_nodes", "level3_caches", "cores")], [count] * 4)

    def test_what_is_asked_for_is_what_is_measured(self):
        result = self.bench(settings=("train.schedule=sequential", "train.recompute=segment"))
        self.assertEqual((result["schedule"], result["recompute"]), ("sequential", "segment"))
        self.assertEqual(self.bench(settings=("train.memory_budget=0.000001",))["recompute"], "segment")

    def test_forward_and_generation(self):
        self.assertEqual(self.bench("--forward")["subject"], "forward")
        one, four = (self.bench("--generate", "--context", "40", "--batch", batch) for batch in ("1", "4"))
        self.assertEqual((one["context"], one["sequences"], four["sequences"]), (40, 1, 4))
        self.assertEqual(one["weight_bytes_per_token"], 4 * four["weight_bytes_per_token"])

    def test_bfloat16(self):
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        native = "avx512_bf16" in flags
        self.assertEqual(self.bench(settings=("train.precision=bfloat16",))["precision"], "bfloat16" if native else "float32")

    def test_ranks(self):
        self.assertEqual(self.bench(settings=("train.batch_size=2",), ranks=2)["ranks"], 2)

    def test_ranks_report(self):
        # Twice the batch of the configuration on two ranks, and half of AdamW's state on each.
        two, sharded = [self.bench("--ranks-report", settings=settings + ("train.batch_size=1",), ranks=2)["ranks_report"]
                        for settings in ((), ("optimizer.sharded=true",))]
        self.assertEqual((two["ranks"], sharded["ranks"]), (2, 2))
        # Half of the gradients to the other rank, and half of the sums back.
        self.assertAlmostEqual(two["bytes_per_step"] / two["parameter_bytes"], 1, delta=0.05)
        self.assertAlmostEqual(sharded["bytes_per_step"] / two["bytes_per_step"], 1, delta=0.05)
        self.assertGreater(two["communication_alone_seconds"], 0)
        self.assertEqual(two["optimizer_bytes_a_rank"], 2 * two["parameter_bytes"])
        self.assertAlmostEqual(sharded["optimizer_bytes_a_rank"] / two["optimizer_bytes_a_rank"], 0.5, delta=0.02)

    def test_beside_pytorch_says_what_is_missing(self):
        def compare(*arguments):
            # Without the packages of the system, whether they are there or not.
            words = [sys.executable, "-S", SOURCE / "tests" / "bench" / "compare.py", *arguments]
            result = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            self.assertNotEqual(result.returncode, 0)
            return result.stderr

        config = self.config("beside")
        self.assertIn("apt-get install python3-numpy python3-h5py python3-torch libopenblas0-pthread", compare(config))
        self.assertIn("--turns: at least 1", compare(config, "--turns", "0"))
        self.assertIn("no such file", compare(self.folder / "nowhere.yaml"))
        self.assertIn("train.batch_size and train.sequence_length have to be there", compare(config, "--set", "train.batch_size=all"))


if __name__ == "__main__":
    unittest.main()

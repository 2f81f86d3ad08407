"""Too little memory (ulimit): the program says so and ends with exit code 1, wherever it runs out, on several ranks too."""
import os
import subprocess
import unittest

from harness import TIMEOUT, EndToEndTest, command, environment

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
SETTINGS = ("model.vocab_size=64", "model.hidden_size=256", "model.num_heads=4", "model.ffn_size=768",
            "model.segment_length=512", "train.sequence_length=2048", "train.threads=2")


def limited(option, kibibytes, words):
    return ["bash", "-c", f'ulimit {option} {kibibytes} && exec "$@"', "sh", *words]


class MemoryLimit(EndToEndTest):
    def bench(self, option, kibibytes, ranks=1):
        """A job whose ranks are all limited; -> its exit code and what it said."""
        arguments = ["bench", self.config("limited"), "--steps", "1", "--warm-up", "0", "--set", *SETTINGS,
                     f"train.batch_size={ranks}"]
        words = limited(option, kibibytes, command(arguments, 1))
        result = subprocess.run(["mpirun", "-n", str(ranks), *words] if ranks > 1 else words, capture_output=True,
                                text=True, env=environment(), timeout=TIMEOUT)
        return result.returncode, result.stderr

    def assert_runs_out(self, option, kibibytes, ranks=1):
        code, error = self.bench(option, kibibytes, ranks)
        self.assertEqual(code, 1, f"{option} {kibibytes}: {error}")
        self.assertIn("out of memory", error, f"{option} {kibibytes}")

    def test_of_address_space(self):
        self.assert_runs_out("-v", 600000)
        self.assert_runs_out("-v", 2 * PHYSICAL // 1024)

    def test_of_data_at_any_point_of_a_step(self):
        # Some of these limits are met in parallel regions.
        for kibibytes in range(50000, 76000, 2000):
            self.assert_runs_out("-d", kibibytes)

    def test_on_several_ranks(self):
        self.assert_runs_out("-d", 60000, ranks=2)
        self.assert_runs_out("-v", 2 * PHYSICAL // 1024, ranks=2)


if __name__ == "__main__":
    unittest.main()

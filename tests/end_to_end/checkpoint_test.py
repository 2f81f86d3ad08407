"""Checkpoints of real training runs: other ranks, full disks, kills in the middle of a save."""
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import unittest
import unittest.mock

import harness
from harness import PROGRAM, EndToEndTest


def faults(path, action, at=1):
    return unittest.mock.patch.dict(os.environ, harness.faults(path, action, at))


class Elastic(EndToEndTest):
    def test_four_two_three_ranks_see_the_same_samples(self):
        sections = {"train": {"batch_size": 12, "steps": 9}}
        self.run_program("train", self.config("one", **sections))
        config = self.config("elastic", **sections)
        self.run_program("train", config, "--stop-after", 3, ranks=4)
        for ranks, stop in ((2, 6), (3, 9)):
            resumed = self.run_program("train", config, "--stop-after", stop, ranks=ranks)
            self.assertIn("not bit for bit", resumed.stdout)
        self.assert_close(self.losses("one"), self.losses("elastic"), 1e-5)
        for step in (3, 6, 9):
            self.assertEqual(self.manifest("elastic", step)["training_state"]["cursor"]["steps"], step)
        state = [self.manifest(run, 9)["training_state"] for run in ("one", "elastic")]
        for key in ("cursor", "state", "progress"):
            self.assertEqual(state[0][key], state[1][key])
        error = self.run_program("train", config, ranks=5, expect=2).stderr
        self.assertIn("train.batch_size 12 cannot be shared by 5 ranks", error)
        self.assertIn("one of 1, 2, 3, 4, 6, 12 ranks", error)

    def test_other_threads_are_warned_of(self):
        config = self.config("threads")
        self.run_program("train", config, "--stop-after", 2)
        self.assertNotIn("not bit for bit", self.run_program("train", config, "--stop-after", 4).stdout)
        resumed = self.run_program("train", config, "--set", "train.threads=2", "--stop-after", 6)
        self.assertRegex(resumed.stdout, r"written by 1 rank with 1 thread each on \w+ \(built for \w+\), "
                         r"now there are 1 rank with 2 threads")


class Resume(EndToEndTest):
    def test_several_times_in_the_middle_of_documents_and_of_epochs(self):
        # 3,100 bytes in 4 lanes of 48 tokens: an epoch is some 16 steps, and no step ends with a document.
        sections = {"train": {"steps": 24}, "checkpoint": {"every": 1000, "keep_last": 0}}
        self.run_program("train", self.config("whole", **sections))
        config = self.config("parts", **sections)
        for stop in (5, 12, 17, 24):
            self.run_program("train", config, "--stop-after", stop)
            self.assertTrue(any(document >= 0 for document in self.manifest("parts", stop)["training_state"]["state"]["documents"]))
        self.assert_same_checkpoint("whole", "parts", 24)
        self.assertEqual(self.losses("whole"), self.losses("parts"))


class KilledAtEveryChange(EndToEndTest):
    """Two ranks save, and one of them dies at a change to the checkpoints' directory: of each rank, at every one but
    for those in the midst of a file's content (tests/launch/checkpoint_faults_test.cpp has them all, for one process)."""
    SECTIONS = {"checkpoint": {"every": 2, "keep_last": 1}}

    def resume(self, name, victim, action, at=1):
        """From step 2 to 4, with `action` for rank `victim`; the exit code and the changes that it made."""
        shutil.copytree(self.folder / "start", self.folder / name)
        train = [PROGRAM, "train", self.config(name, **self.SECTIONS), "--stop-after", 4]
        log = self.folder / f"{name}.changes"
        variables = harness.faults(f"{name}/checkpoints", action, at) | {"PALIMPSEST_FAULT_LOG": log}
        lines = [train, train]
        lines[victim] = ["env", *(f"{key}={value}" for key, value in variables.items()), *train]
        result = subprocess.run(harness.job(*lines), capture_output=True, text=True, env=harness.environment(),
                                timeout=harness.TIMEOUT, check=False)
        self.assertTrue(log.exists(), f"{result.stdout}\n{result.stderr}")
        return result.returncode, log.read_text(encoding="utf-8").splitlines()

    def newest_after_a_kill(self, victim, at):
        name = f"killed-{victim}-{at}"
        code, changes = self.resume(name, victim, "kill", at)
        self.assertEqual((code, len(changes)), (137, at))
        inspected = self.run_program("inspect", self.folder / name).stdout
        step = int(re.search(r"step-0*(\d+)", inspected)[1])
        self.assertEqual(self.tensors(name, step), self.whole[step], changes[-1])
        latest = (self.folder / name / "checkpoints" / "latest").read_text(encoding="utf-8")
        self.assertIn(latest, ("step-00000002\n", f"step-{step:08}\n"))
        return step

    def test_by_two_ranks(self):
        self.run_program("train", self.config("start", **self.SECTIONS), "--stop-after", 2, ranks=2)
        self.whole = {2: self.tensors("start", 2)}
        for victim, at_least in ((0, 15), (1, 4)):
            code, changes = self.resume(f"undisturbed-{victim}", victim, "none")
            self.assertEqual(code, 0)
            self.whole[4] = self.tensors(f"undisturbed-{victim}", 4)
            kinds = [change.split()[1] for change in changes]
            chosen = [at for at in range(1, len(kinds) + 1) if kinds[max(at - 2, 0):at + 1] != ["pwrite"] * 3]
            self.assertGreaterEqual(len(chosen), at_least, changes)
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                newest = list(pool.map(lambda at, victim=victim: self.newest_after_a_kill(victim, at), chosen))
            self.assertEqual(newest, sorted(newest), "what was complete is so later on")
            self.assertEqual(newest[0], 2)
            self.assertEqual(newest[-1], 4 if victim == 0 else 2)


class Faults(EndToEndTest):
    SECTIONS = {"checkpoint": {"every": 2, "keep_last": 0}}

    def test_full_disk_while_training(self):
        config = self.config("full", **self.SECTIONS)
        self.run_program("train", config, "--stop-after", 2)
        kept = self.tensors("full", 2)
        with faults(self.checkpoint("full", 4).name, "ENOSPC"):
            result = self.run_program("train", config)
        self.assertRegex(result.stdout + result.stderr,
                         r"the checkpoint of step 4 was not saved, the earlier ones are as they were: "
                         r".*step-00000004.*No space left on device")
        self.assertEqual(self.metrics("full")[-1]["step"], 8)
        self.assertFalse(self.checkpoint("full", 4).exists())
        self.assertEqual(self.tensors("full", 2), kept)
        self.assertEqual(self.manifest("full", 6)["step"], 6)

    def test_full_disk_ends_a_run_that_asks_for_it_and_the_last_save_always(self):
        config = self.config("stops", **self.SECTIONS)
        with faults(self.checkpoint("stops", 4).name, "ENOSPC"):
            error = self.run_program("train", config, "--set", "checkpoint.on_failure=stop", expect=4).stderr
        self.assertIn("No space left on device", error)
        self.assertEqual(self.manifest("stops", 2)["step"], 2)
        with faults(self.checkpoint("stops", 8).name, "ENOSPC"):
            error = self.run_program("train", config, expect=4).stderr
        self.assertIn("the checkpoint of step 8 was not saved", error)

    def test_killed_during_an_asynchronous_save(self):
        config = self.config("killed", checkpoint={"every": 2, "keep_last": 1})
        reference = self.config("reference", checkpoint={"every": 2, "keep_last": 1})
        self.run_program("train", config, "--stop-after", 2)
        with faults(self.checkpoint("killed", 4).name, "kill", at=5):
            self.run_program("train", config, expect=-signal.SIGKILL)
        folder = self.folder / "killed" / "checkpoints"
        self.assertEqual((folder / "latest").read_text(encoding="utf-8"), "step-00000002\n")
        self.assertTrue((folder / "step-00000002" / "manifest.json").exists())
        self.assertFalse((folder / "step-00000004").exists())
        resumed = self.run_program("train", config)
        self.assertIn("left by an interrupted save, ignored", resumed.stdout + resumed.stderr)
        self.assertIn("step-00000002", resumed.stdout)
        self.run_program("train", reference)
        self.assert_same_checkpoint("reference", "killed", 8)

    def test_damage_falls_back_by_one_and_is_told(self):
        config = self.config("damaged", **self.SECTIONS)
        self.run_program("train", config, "--stop-after", 4)
        file = self.checkpoint("damaged", 4) / "state-00000.h5"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        error = self.run_program("inspect", self.folder / "damaged", "--step", 4, expect=3).stderr
        self.assertIn("damaged: its hash is", error)
        inspected = self.run_program("inspect", self.folder / "damaged")
        self.assertIn("passing over a checkpoint that is not whole", inspected.stderr)
        self.assertIn("step-00000002", inspected.stdout)
        error = self.run_program("inspect", self.folder / "damaged", "--step", 3, expect=3).stderr
        self.assertIn("there is no checkpoint of step 3; there are those of 2, 4", error)
        resumed = self.run_program("train", config)
        output = resumed.stdout + resumed.stderr
        self.assertRegex(output, r"passing over a checkpoint that is not whole: .*step-00000004/state-00000.h5: damaged")
        self.assertRegex(output, r"Resuming from .*step-00000002")
        for step in (2, 4, 6, 8):
            (self.checkpoint("damaged", step) / "manifest.json").unlink()
        error = self.run_program("train", config, expect=3).stderr
        self.assertIn("none of the 4 checkpoints is whole", error)


if __name__ == "__main__":
    unittest.main()

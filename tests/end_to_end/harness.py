"""Runs the real program for the tests of this folder: a tiny corpus, jobs of one or several ranks,
and what they leave behind."""
import ctypes
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import termios
import time
import unittest

import h5py
import numpy

PROGRAM = os.environ["PALIMPSEST"]
INTERPOSER = os.environ.get("PALIMPSEST_INTERPOSER")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 240
HOST = re.escape(socket.gethostname())
ENDLESS = ("--set", "train.steps=100000")

# Open MPI removes the folder of its jobs when it is empty, and a job that starts at that moment fails: it never is.
(pathlib.Path(tempfile.gettempdir()) / f"ompi.{socket.gethostname().partition('.')[0]}.{os.getuid()}" / "kept").mkdir(
    mode=0o700, parents=True, exist_ok=True)

CONFIG = """\
model:
  hidden_size: 32
  num_layers: 2
  num_heads: 4
  num_kv_heads: 2
  ffn_size: 48
  segment_length: 16
  attention: {{kind: infini, memory_update: delta}}

data:
  train: {data}/train.h5
  validation: {data}/validation.h5
  test: {data}/test.h5

train:
  run_directory: {run}
  steps: 8
  batch_size: 4
  sequence_length: 48
  threads: 1
  log_every: 1

optimizer:
  learning_rate: 1e-2
  warmup_steps: 2

checkpoint:
  every: 1000000  # none before a signal, however late it comes
"""


def text(characters, seed):
    """Words out of a small vocabulary, so that there is something to learn."""
    generator = random.Random(seed)
    words = []
    while sum(map(len, words)) + len(words) < characters:
        words.append(generator.choice(["the", "of", "memory", "palimpsest", "written", "over", "é", "again"]))
    return " ".join(words)


class XxHash128(ctypes.Structure):
    _fields_ = (("low", ctypes.c_uint64), ("high", ctypes.c_uint64))


def xxh128(content):
    """XXH3 of 128 bits, in hexadecimal."""
    function = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    function.restype, function.argtypes = XxHash128, (ctypes.c_char_p, ctypes.c_size_t)
    value = function(content, len(content))
    return f"{value.high:016x}{value.low:016x}"


def environment():
    """One computing thread a rank; several ranks wherever the tests run, as root too."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }


def command(arguments, ranks):
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    return launcher + [PROGRAM] + [str(argument) for argument in arguments]


def job(*commands):
    """mpirun with a rank for each command line, which need not be the same."""
    words = ["mpirun"]
    for index, line in enumerate(commands):
        words += [":"] * (index > 0) + ["-n", "1", *map(str, line)]
    return words


def faults(path, action, at=1):
    """Environment in which the `at`-th change to a file with `path` in its name meets with `action` (tests/faults/interposer.cpp)."""
    return {"LD_PRELOAD": INTERPOSER, "PALIMPSEST_FAULT_PATH": str(path), "PALIMPSEST_FAULT_ACTION": action,
            "PALIMPSEST_FAULT_AT": str(at), "ASAN_OPTIONS": "verify_asan_link_order=0"}


class EndToEndTest(unittest.TestCase):
    """Packs the corpus once for all tests of a class; each test gets run directories of its own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="palimpsest-end-to-end-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        for split, lengths in {"train": [900, 500, 1400, 300], "validation": [400], "test": [700, 60, 350, 9]}.items():
            for index, length in enumerate(lengths):
                file = cls.folder / "corpus" / split / f"{index}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text(length, f"{split}{index}"), encoding="utf-8")
            subprocess.run([PROGRAM, "pack", cls.folder / "corpus" / split, cls.folder / f"{split}.h5"], check=True, capture_output=True,
                           timeout=TIMEOUT)

    def config(self, run, **sections):
        """A configuration file for run directory `run`; `sections` hold further lines of YAML values."""
        content = CONFIG.format(data=self.folder, run=self.folder / run)
        for section, values in sections.items():
            lines = "".join(f"  {key}: {value}\n" for key, value in values.items())
            for key in values:
                content = re.sub(rf"(?m)^  {key}: .*\n", "", content)
            if f"{section}:\n" in content:
                content = content.replace(f"{section}:\n", f"{section}:\n{lines}")
            else:
                content += f"\n{section}:\n{lines}"
        file = self.folder / f"{run}.yaml"
        file.write_text(content, encoding="utf-8")
        return file

    def run_program(self, *arguments, ranks=1, expect=0, stdin=""):
        result = subprocess.run(command(arguments, ranks), capture_output=True, text=True, input=stdin,
                                env=environment(), timeout=TIMEOUT)
        self.assertEqual(result.returncode, expect, f"{arguments}\n{result.stdout}\n{result.stderr}")
        return result

    def start_program(self, *arguments, ranks=1):
        return self.start(command(arguments, ranks))

    def start(self, words):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        return process

    def start_on_terminal(self, *arguments):
        """The process, and what reads and types at its terminal, where progress is shown and keys are signals."""
        controller, terminal = os.openpty()
        process = subprocess.Popen(command(arguments, 1), stdin=terminal, stdout=terminal, stderr=terminal,
                                   env=environment() | {"TERM": "xterm", "LC_ALL": "C.UTF-8"}, start_new_session=True,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(terminal)
        self.addCleanup(lambda: (process.kill(), process.wait(), os.close(controller)))
        return process, controller

    def read_until(self, controller, pattern, read=""):
        """What the terminal shows up to `pattern`, or to the end when it is None."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if pattern and re.search(pattern, read):
                return read
            try:
                read += os.read(controller, 4096).decode(errors="replace")
            except OSError:  # the end of a terminal
                break
        if pattern:
            self.fail(f"no {pattern} in: {read}")
        return read

    def metrics(self, run, kind="step"):
        path = self.folder / run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line["kind"] == kind]

    def losses(self, run):
        return [line["loss"] for line in self.metrics(run)]

    def wait_for_step(self, run, step):
        deadline = time.monotonic() + TIMEOUT
        path = self.folder / run / "metrics.jsonl"
        while time.monotonic() < deadline:
            if path.exists() and f'"step":{step},' in path.read_text(encoding="utf-8"):
                return
            time.sleep(0.02)
        self.fail(f"{run} did not reach step {step}")

    def ranks_of(self, config):
        """The processes that compute this configuration, in the order of their ranks."""
        found = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().decode().split("\0")
                if arguments[0] != PROGRAM or str(config) not in arguments:
                    continue
                variables = dict(entry.partition("=")[::2] for entry in (folder / "environ").read_text().split("\0"))
            except OSError:
                continue
            found[int(variables.get("OMPI_COMM_WORLD_RANK", 0))] = int(folder.name)
        return [pid for _, pid in sorted(found.items())]

    def checkpoint(self, run, step):
        return self.folder / run / "checkpoints" / f"step-{step:08}"

    def manifest(self, run, step):
        return json.loads((self.checkpoint(run, step) / "manifest.json").read_text(encoding="utf-8"))

    def edit_checkpoint(self, run, step, edit):
        """Calls edit(name, values) for every data set of a checkpoint and writes the values back, hashes included."""
        folder = self.checkpoint(run, step)
        manifest = self.manifest(run, step)
        for file in manifest["files"]:
            with h5py.File(folder / file["name"], "r+") as opened:
                for entry in file["entries"]:
                    data = opened[entry["name"]]
                    values = data[...]
                    edit(entry["name"], values)
                    data[...] = values
                    if "xxh128" in entry:
                        entry["xxh128"] = xxh128(values.tobytes())
                        data.attrs["xxh128"] = numpy.bytes_(entry["xxh128"]) if isinstance(data.attrs["xxh128"], bytes) else entry["xxh128"]
            content = (folder / file["name"]).read_bytes()
            file["bytes"], file["xxh128"] = len(content), xxh128(content)
        text = json.dumps(manifest).encode()
        (folder / "manifest.json").write_bytes(text)
        (folder / "manifest.json.xxh128").write_text(f"{xxh128(text)}  manifest.json\n", encoding="ascii")

    def tensors(self, run, step):
        """Every entry of a checkpoint by name, as bytes, its shares put together."""
        shares = {}
        for described in self.manifest(run, step)["files"]:
            with h5py.File(self.checkpoint(run, step) / described["name"], "r") as file:
                for entry in described["entries"]:
                    shares.setdefault(entry["name"], []).append((entry["begin"], numpy.asarray(file[entry["name"]]).tobytes()))
        return {name: b"".join(data for _, data in sorted(parts)) for name, parts in shares.items()}

    def assert_same_checkpoint(self, first, second, step):
        """Equal bits in every tensor and an equal state of the run."""
        a, b = self.tensors(first, step), self.tensors(second, step)
        self.assertEqual(a.keys(), b.keys())
        self.assertEqual([name for name in a if a[name] != b[name]], [])
        self.assertEqual(self.manifest(first, step)["training_state"], self.manifest(second, step)["training_state"])

    def assert_close(self, first, second, tolerance):
        self.assertEqual(len(first), len(second))
        for a, b in zip(first, second):
            self.assertLess(abs(a - b), tolerance * abs(a), f"{first}\n{second}")


class FaultTest(EndToEndTest):
    def start_run(self, name, *arguments, ranks=2, step=3, **sections):
        """A run that would go on for ever, once it has reached `step`."""
        config = self.config(name, **sections)
        process = self.start_program("train", config, *ENDLESS, *arguments, ranks=ranks)
        self.wait_for_step(name, step)
        return config, process

    def finish(self, process, expect):
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, expect, output)
        return output

    def check_resumes(self, name, config, ranks=2, **sections):
        """The run `name` was stopped with a checkpoint of its last step, from which it goes on bit for bit."""
        step = self.metrics(name)[-1]["step"]
        self.assertEqual(self.manifest(name, step)["step"], step)
        self.run_program("train", config, *ENDLESS, "--stop-after", step + 2, ranks=ranks)
        reference = self.config(f"{name}-reference", **sections)
        self.run_program("train", reference, *ENDLESS, "--stop-after", step + 2, ranks=ranks)
        self.assert_same_checkpoint(name, f"{name}-reference", step + 2)
        self.assertEqual([line["step"] for line in self.metrics(name)], list(range(1, step + 3)))

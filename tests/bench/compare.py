#!/usr/bin/env python3
"""Palimpsest's training beside PyTorch's of the same model (pytorch_model.py), turn by turn, by hand:

    PALIMPSEST=build/release/palimpsest tests/bench/compare.py configs/bench/small.yaml [--set KEY=VALUE ...]

First both compute the losses of the same tokens with the same weights, in float32, and have to agree; without that a
comparison says nothing. Then they take turns: training steps on random tokens, each in processes of its own, which also
measure the peak of matrix products there, in that precision. Rates come by the clock and by processor time, which other
work on the machine disturbs less; with one thread the latter is exact.

Needs the Debian packages python3-torch, python3-numpy, python3-h5py and libopenblas0-pthread: without an optimised BLAS
PyTorch multiplies float32 thirty times as slowly."""
import argparse
import importlib.util
import json
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile

PACKAGES = {"torch": "python3-torch", "numpy": "python3-numpy", "h5py": "python3-h5py"}
TOLERANCE = 1e-5  # nats a token
# What the reference does not compute otherwise.
SUPPORTED = {"attention.kind": "infini", "attention.empty_memory": "local", "attention.gate": "mix", "attention.memory_readout": "normalized",
             "attention.memory_decay": False, "attention.memory_features": "elu",
             "attention.memory_query": "query", "attention.memory_shift": False, "attention.overlap": 0, "rope_scaling.kind": "none", "qkv_bias": False, "qk_norm": False,
             "lora.rank": 0}


def run(program, *arguments):
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{program} {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def sections(yaml):
    """The numbers, words and booleans of a configuration as Palimpsest writes it, by section and "key" or "key.key"."""
    found, path = {}, []
    for line in yaml.splitlines():
        match = re.fullmatch(r"( *)([a-z0-9_]+):(?: (.*))?", line)
        if not match:
            continue
        path[len(match[1]) // 2:] = [match[2]]
        if match[3] is not None:
            value = match[3]
            try:
                value = json.loads(value)
            except ValueError:
                pass  # a word
            found.setdefault(path[0], {})[".".join(path[1:])] = value
    return found


def batch_shape(config, settings):
    """Lanes and tokens of a step, which have to stand in the file or in --set."""
    train = sections(config.read_text(encoding="utf-8")).get("train", {})
    train |= {key.removeprefix("train."): value for key, _, value in (setting.partition("=") for setting in settings)}
    try:
        return int(train["batch_size"]), int(train["sequence_length"])
    except (KeyError, ValueError):
        raise SystemExit(f"{config}: train.batch_size and train.sequence_length have to be there as plain numbers, or in --set") from None


def read_safetensors(path):
    import numpy
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(content[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]],
                                   "<f4").reshape(entry["shape"]) for name, entry in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values.tobytes() for values in tensors.values()))


def far_from_initial(tensors):
    """Weights with which everything matters: losses far from the logarithm of the vocabulary, gates between 0.1 and 0.9."""
    import numpy
    generator = numpy.random.default_rng(7)
    changed = {}
    for name, values in tensors.items():
        if name.endswith("memory_gate"):
            values = generator.uniform(-2, 2, values.shape)
        elif values.ndim == 1:
            values = generator.uniform(0.5, 1.5, values.shape)
        else:
            values = 3 * values
        changed[name] = values.astype("<f4")
    return changed


def write_documents(folder, tokens):
    """Two texts of so many words of the passkey tokenizer, whose vocabulary is smaller than that of any preset."""
    generator = random.Random(3)
    for name in ("first", "second"):
        words = (generator.choice(["grass", "green", "sky", "blue", "sun", "go", "the", "and", "back"]) for _ in range(tokens))
        (folder / f"{name}.txt").write_text(" ".join(words), encoding="utf-8")


def check(program, config, settings, folder):
    """The configuration as Palimpsest resolves it, after both have computed the same losses."""
    import h5py
    import torch

    import pytorch_model
    texts, tokens = folder / "texts", folder / "tokens.h5"
    texts.mkdir()
    # A step of one token makes a run; its weights are replaced below.
    write_documents(texts, 1)
    run(program, "pack", texts, tokens, "--tokenizer", "passkey")
    run(program, "train", config, "--set", *settings, "data.kind=text", f"data.train={tokens}", f"train.run_directory={folder}/run", "train.steps=1",
        "train.batch_size=1", "train.sequence_length=1", "optimizer.warmup_steps=0", "evaluation.every=0")
    run(program, "export", folder / "run", folder / "exported")
    description = json.loads((folder / "exported" / "config.json").read_text(encoding="utf-8"))
    resolved = sections(description["palimpsest"]["config"])
    model = resolved["model"]
    for key, value in SUPPORTED.items():
        if model[key] != value:
            raise SystemExit(f"model.{key}: the PyTorch reference has {json.dumps(value)} alone, not {json.dumps(model[key])}")
    model |= {key: model[f"attention.{key}"] for key in ("memory_update", "memory_epsilon")}

    file = folder / "exported" / "model.safetensors"
    tensors = far_from_initial(read_safetensors(file))
    write_safetensors(file, tensors)
    run(program, "import", folder / "exported", folder / "imported", "--set", "train.precision=float32")
    length = 4 * model["segment_length"]
    write_documents(texts, length)
    run(program, "pack", texts, tokens, "--tokenizer", "passkey", "--force")
    run(program, "eval", folder / "imported", "--data", tokens, "--json", folder / "losses.json")
    documents = json.loads((folder / "losses.json").read_text(encoding="utf-8"))["documents"]
    ours = [document["negative_log_likelihood"] / document["tokens"] for document in documents]

    with h5py.File(tokens, "r") as opened:
        # Each document: a begin token, its text, an end token.
        rows = torch.tensor(opened["tokens"][...].astype("int64")).view(2, length + 2)
    reference = pytorch_model.Model(model)
    reference.load(tensors)
    with torch.no_grad():
        losses = [reference(rows[:, :length], rows[:, 1:length + 1], use_memory, "none").view(2, length).mean(1).tolist()
                  for use_memory in (True, False)]
    difference = max(abs(a - b) for a, b in zip(ours, losses[0]))
    of_memory = min(abs(a - b) for a, b in zip(*losses))
    print(f"Loss of two documents of {length} tokens, nats a token: Palimpsest {ours[0]:.6f} and {ours[1]:.6f}, PyTorch "
          f"{losses[0][0]:.6f} and {losses[0][1]:.6f}: at most {difference:.1e} apart, {TOLERANCE:.0e} allowed. Without the memory "
          f"it would differ by {of_memory:.1e}.", flush=True)
    if not difference <= TOLERANCE or of_memory < 10 * TOLERANCE:
        raise SystemExit("The two do not compute the same model, or this does not show it.")
    return resolved


def measure_palimpsest(program, settings, options, precision, tokens_per_step):
    result = json.loads(run(program, "bench", options.config, "--json", "--steps", options.steps, "--warm-up", options.warm_up, "--set", *settings,
                            f"train.precision={precision}", f"train.threads={options.threads}"))
    if result["precision"] != precision:
        raise SystemExit(f"This machine has no instructions for {precision}.")
    assert round(result["tokens_per_second"] * statistics.median(result["step_seconds"])) == tokens_per_step
    return 1e9 * result["model_gflops"] / result["tokens_per_second"], {
        "seconds": statistics.median(result["step_seconds"]),
        "processor_seconds": statistics.median(result["step_processor_seconds"]) / options.threads,
        "peak": result["matmul_peak_gflops"], "processor_peak": result["matmul_peak_processor_gflops"],
        "memory_bytes": result["peak_memory_bytes"]}


def measure_pytorch(resolved, options, precision, lanes, tokens):
    task = {"model": resolved["model"], "optimizer": resolved["optimizer"], "lanes": lanes, "tokens": tokens,
            "precision": precision, "threads": options.threads, "steps": options.steps, "warm_up": options.warm_up}
    # Freed memory stays with the process: without that every large tensor costs page faults.
    environment = os.environ | {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(64 << 20),
                                "OMP_NUM_THREADS": str(options.threads)}
    result = subprocess.run([sys.executable, pathlib.Path(__file__).with_name("pytorch_model.py")], input=json.dumps(task),
                            stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise SystemExit(f"PyTorch ended with {result.returncode}")
    return json.loads(result.stdout)


class Table:
    """A line for every turn, then the medians and what they say."""

    def __init__(self, precision, tokens):
        self.tokens, self.rows = tokens, {"Palimpsest": [], "PyTorch": []}
        print(f"\n{precision:10} turn | by the clock: tokens/s    MFU | by processor time: tokens/s    MFU   peak GFLOP/s |  memory", flush=True)

    def add(self, name, flops_per_token, result):
        clock, processor = self.tokens / result["seconds"], self.tokens / result["processor_seconds"]
        self.rows[name].append((clock, flops_per_token * clock / result["peak"] / 1e9, processor,
                                flops_per_token * processor / result["processor_peak"] / 1e9, result["processor_peak"],
                                result["memory_bytes"] / 1e9))
        self.show(name, len(self.rows[name]), self.rows[name][-1])

    @staticmethod
    def show(name, turn, row):
        print(f"{name:10} {turn:>4} | {row[0]:22.0f} {100 * row[1]:4.0f} % | {row[2]:27.0f} {100 * row[3]:4.0f} % {row[4]:14.0f} | "
              f"{row[5]:4.2f} GB", flush=True)

    def finish(self):
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in self.rows.items()}
        for name, row in medians.items():
            self.show(name, "all", row)
        ours, theirs = medians["Palimpsest"], medians["PyTorch"]
        print(f"Palimpsest is {ours[0] / theirs[0]:.2f} times as fast by the clock, {ours[2] / theirs[2]:.2f} times by processor time; at "
              f"the whole of its peak it would be {ours[2] / ours[3] / theirs[2]:.2f} times.", flush=True)


def check_installed():
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} missing for {sys.executable}: apt-get install python3-numpy python3-h5py python3-torch "
                         "libopenblas0-pthread, and /usr/bin/python3 runs it")
    import torch  # with the BLAS that it was linked to
    assert torch
    if "/usr/lib/x86_64-linux-gnu/blas/libblas.so.3" in pathlib.Path("/proc/self/maps").read_text(encoding="utf-8"):
        raise SystemExit("PyTorch multiplies by the slow reference BLAS: apt-get install libopenblas0-pthread")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--set", nargs="+", default=[], dest="settings", metavar="KEY=VALUE", help="as for palimpsest bench")
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--turns", type=int, default=2, help="of each (default: 2)")
    parser.add_argument("--steps", type=int, default=3, help="measured in a turn (default: 3)")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them (default: 1)")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    options = parser.parse_args()
    for name, least in (("turns", 1), ("steps", 1), ("warm_up", 0), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')}: at least {least}")
    if not options.config.is_file():
        parser.error(f"{options.config}: no such file")
    program = os.environ.get("PALIMPSEST", "palimpsest")
    settings = ["optimizer.kind=adamw", *options.settings]
    lanes, tokens = batch_shape(options.config, settings)
    check_installed()
    with tempfile.TemporaryDirectory() as temporary:
        resolved = check(program, options.config, settings, pathlib.Path(temporary))
    if tokens % resolved["model"]["segment_length"]:
        raise SystemExit("train.sequence_length: the PyTorch reference reads whole segments alone")
    for precision in options.precision:
        table = Table(precision, lanes * tokens)
        for _ in range(options.turns):
            flops_per_token, result = measure_palimpsest(program, settings, options, precision, lanes * tokens)
            table.add("Palimpsest", flops_per_token, result)
            table.add("PyTorch", flops_per_token, measure_pytorch(resolved, options, precision, lanes, tokens))
        table.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Saving and loading checkpoints beside dd with as many bytes on the same disk, turn by turn:

    tests/bench/checkpoint_bench.py build/release/tests/save_checkpoints DIRECTORY [MIB] [REPEATS]

By hand, on a quiet machine. Loading and dd's reading start without the file in the page cache (posix_fadvise)."""
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time


def forget(folder):
    for file in [folder] if folder.is_file() else folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)


def dd(source, target, *options):
    start = time.monotonic()
    run("dd", f"if={source}", f"of={target}", "bs=1M", *options)
    return time.monotonic() - start


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    mebibytes, repeats = int((sys.argv[3:] or ["432"])[0]), int((sys.argv[4:] or ["5"])[0])
    size = mebibytes << 20
    seconds = {name: [] for name in ("dd write", "save", "dd read", "load")}
    waited = []
    for _ in range(repeats):
        checkpoints, plain = folder / "checkpoint-bench", folder / "checkpoint-bench.dd"
        shutil.rmtree(checkpoints, ignore_errors=True)
        plain.unlink(missing_ok=True)
        os.sync()
        seconds["dd write"].append(dd("/dev/zero", plain, f"count={mebibytes}", "conv=fsync"))
        # The second save: the first one takes the memory for its copies, which a trainer has taken before.
        saved = run(program, "--bytes", size, checkpoints, 0, 1, 2).stdout.splitlines()[1]
        seconds["save"].append(float(re.search(r"saved in ([0-9.]+) s", saved)[1]))
        waited.append(float(re.search(r"waited ([0-9.]+) s", saved)[1]))
        forget(plain)
        seconds["dd read"].append(dd(plain, "/dev/null"))
        forget(checkpoints)
        loaded = run(program, "--load", "--bytes", size, checkpoints).stdout
        seconds["load"].append(float(re.search(r"in ([0-9.]+) s", loaded)[1]))
        shutil.rmtree(checkpoints)
        plain.unlink()
    for name, values in seconds.items():
        rates = [size / value / 1e6 for value in values]
        print(f"{name:9} {statistics.median(rates):6.0f} MB/s  ({min(rates):.0f} to {max(rates):.0f})")
    for name, base in (("save", "dd write"), ("load", "dd read")):
        print(f"{name} / {base}: {statistics.median(seconds[base]) / statistics.median(seconds[name]):.2f}")
    print(f"copy before training goes on: {1000 * statistics.median(waited):.0f} ms")


if __name__ == "__main__":
    main()

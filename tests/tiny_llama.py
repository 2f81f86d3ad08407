#!/usr/bin/env python3
"""Imports a real pretrained Llama, and exports and imports it again, by hand:

    PALIMPSEST=build/release/palimpsest tests/tiny_llama.py FOLDER [--keep FOLDER]

FOLDER holds karpathy/tinyllamas' stories260K: hf/config.json and hf/model.safetensors (its weights under Hugging Face's
names), tok512.bin (its tokenizer, as llama2.c has it) and sample_greedy.txt (what run.c of llama2.c prints at
temperature 0). The program has to continue an empty prompt with that very text, and to measure on it the loss that the
original has, 0.457346 nats a token: as imported, after export and import, in float32 and in bfloat16.
"""
import argparse
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

PROGRAM = os.environ["PALIMPSEST"]
NATS_PER_TOKEN = 0.457346  # over the 256 tokens after the begin token; llama2.c in float32
SPACE = "\u2581"


def field(number, value):
    """A field of a protocol buffer: an integer, a float or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def sentencepiece_model(llama2c):
    """The SentencePiece model that a tokenizer file of llama2.c was made from: a maximal length (int32), then for each
    piece score (float32), length (int32) and bytes; <unk>, the begin and the end token and the 256 bytes come first."""
    normal, unknown, control, byte, bpe = 1, 2, 3, 6, 2
    offset, pieces = 4, []
    while offset < len(llama2c):
        score, length = struct.unpack_from("<fi", llama2c, offset)
        pieces.append((llama2c[offset + 8:offset + 8 + length].decode(), score))
        offset += 8 + length
    model = b""
    for index, (text, score) in enumerate(pieces):
        kind = unknown if index == 0 else control if index < 3 else byte if index < 259 else normal
        text = text.strip() if kind == control else text.replace(" ", SPACE) if kind == normal else text
        model += field(1, field(1, text.encode()) + field(2, score) + field(3, kind))
    trainer = field(3, bpe) + field(4, len(pieces)) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2)
    normalizer = field(1, b"identity") + field(3, 1) + field(4, 0) + field(5, 1)
    return model + field(2, trainer) + field(3, normalizer)


def run(*arguments):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{arguments}: {result.stderr}")
    return result.stdout


def measure(name, run_directory, tokens, sample, lines):
    text = run("generate", run_directory, "--temperature", 0, "--max-tokens", 256)
    run("eval", run_directory, "--data", tokens, "--json", run_directory / "sample.json")
    total = json.loads((run_directory / "sample.json").read_text(encoding="utf-8"))["total"]
    loss = total["negative_log_likelihood"] / total["tokens"]
    words = next((i for i, (a, b) in enumerate(zip(text.split(), sample.split())) if a != b), 0)
    lines.append(f"{name:36}  {total['tokens']:5}  {loss:.6f}  {loss - NATS_PER_TOKEN:+.1e}  "
                 f"{'word for word' if text.strip() == sample else f'the first {words} of {len(sample.split())} words'}")
    print(lines[-1], flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path, help="where the folder with its tokenizer.model goes")
    options = parser.parse_args()
    sample = (options.folder / "sample_greedy.txt").read_text(encoding="utf-8").rstrip("\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        model = work / "model"
        model.mkdir()
        for file in (options.folder / "hf").iterdir():
            shutil.copyfile(file, model / file.name)
        (model / "tokenizer.model").write_bytes(sentencepiece_model((options.folder / "tok512.bin").read_bytes()))
        (work / "text").mkdir()
        (work / "text" / "sample.txt").write_text(sample, encoding="utf-8")
        run("pack", work / "text", work / "sample.h5", "--tokenizer", model / "tokenizer.model")

        lines = []
        print(f"{'':36} tokens  nats/token  difference  greedy sample")
        for precision in ("float32", "bfloat16"):
            setting = ("--set", f"train.precision={precision}")
            first = work / f"first-{precision}"
            run("import", model, first, *setting)
            measure(f"imported, computed in {precision}", first, work / "sample.h5", sample, lines)
            for stored in ("float32", "bfloat16"):
                exported, again = work / f"export-{precision}-{stored}", work / f"again-{precision}-{stored}"
                run("export", first, exported, "--type", stored)
                run("import", exported, again)
                measure(f"... exported in {stored}, imported", again, work / "sample.h5", sample, lines)
        original, exported = (path / "model.safetensors" for path in (model, work / "export-float32-float32"))
        same = all(tensors(exported)[name] == value for name, value in tensors(original).items())
        print("exported in float32, tensors as in the original, bit for bit:", same)
        if options.keep:
            shutil.copytree(model, options.keep)
            shutil.copyfile(options.folder / "sample_greedy.txt", options.keep / "sample_greedy.txt")


def tensors(path):
    """The bytes of every tensor of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    return {name: content[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]]
            for name, entry in header.items()}


if __name__ == "__main__":
    main()

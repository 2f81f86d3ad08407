"""Files that are broken or made to do harm, through the real program: an error that names the file and the place, an
exit code that says whose fault it is, and all of that within little time and memory."""
import json
import os
import pathlib
import re
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest

import h5py

from harness import EndToEndTest, PROGRAM, environment

SECONDS = 30
MEMORY = 3 << 30
CONFIGURATION, INPUT = 2, 3


def limits():
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# What is in the file, what the error has to say. {} stands for the file's path.
YAML = {
    "unknown key": (b"train:\n  stepz: 3\n", "{}:2: train.stepz is not a key; did you mean steps?"),
    "unknown section": (b"modle:\n  x: 1\n", "{}:1: modle is not a section; did you mean model?"),
    "duplicate key": (b"train:\n  steps: 1\n  steps: 2\n", "{}:3: train.steps is already set in line 2"),
    "duplicate section": (b"train:\n  steps: 1\ntrain:\n  seed: 2\n", "{}:3: train is already set in line 1"),
    "key with terminal codes": (b'"\\e[2J\\nforged":\n  x: 1\n', "{}:1: \\x1B[2J\\x0Aforged is not a section"),
    "very long key": (b"train:\n  ? " + b"k" * 500_000 + b"\n  : 1\n", "kkk... is not a key"),
    "anchor": (b"train: &t\n  steps: 1\n", "{}:1: anchors (&name) are not allowed"),
    "alias": (b"train: {}\nmodel: *t\n", "{}:2: "),
    "cycle": (b"train: &t [*t]\n", "{}:1: "),
    "merge key": (b"train:\n  <<: {steps: 1}\n", "{}:2: "),
    "billion laughs": (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "{}:1: "),
    "tag": (b"train: !!python/object:os.system\n  steps: 1\n", "{}:1: tags "),
    "deep lists": (b"train: " + b"[" * 500_000, "{}:1: "),
    "deep mappings": (b"{a: " * 200_000, "{}:1: "),
    "deep block lists": (b"- " * 200_000, "{}:1: "),
    "negative count": (b"train:\n  steps: -1\n", "{}:2: train.steps must be at least 1"),
    "huge count": (b"train:\n  steps: 1" + b"0" * 100_000 + b"\n", "{}:2: train.steps must be at least 1"),
    "model of no machine": (b"model:\n  hidden_size: 1000000000000000\n", "{}:2: model.hidden_size must be"),
    "octal-like": (b"train:\n  steps: 010\n", "{}:2: train.steps must be an integer without leading zeros, found `010`"),
    "not a number": (b"optimizer:\n  learning_rate: .nan\n", "{}:2: optimizer.learning_rate must be a number"),
    "infinite": (b"optimizer:\n  learning_rate: 1e999\n", "{}:2: optimizer.learning_rate must be a finite number"),
    "UTF-16": ("\ufefftrain:\n  steps: 1\n".encode("utf-16-le"), "{}:1: is UTF-16 text, expected UTF-8"),
    "UTF-16, big-endian": ("\ufefftrain:\n".encode("utf-16-be"), "{}:1: is UTF-16 text, expected UTF-8"),
    "UTF-16 without a mark": ("train:\n".encode("utf-16-le"), "{}:1: byte 0x00 at offset 1 is a control character"),
    "UTF-32": ("\ufefftrain:\n".encode("utf-32-be"), "{}:1: byte 0x00 at offset 0 is a control character"),
    "Latin-1": (b"train:\n  steps: 1\n# caf\xe9\n", "{}:3: byte 0xE9 at offset 23 is no part of UTF-8"),
    "zero byte": (b"train:\n  steps: 1\0\n", "{}:2: byte 0x00 at offset 17 is a control character"),
    "escape": (b"# \x1b[2J\ntrain:\n", "{}:1: byte 0x1B at offset 2 is a control character"),
    "two documents": (b"train:\n  steps: 1\n---\ntrain:\n", "{}:3: a second document starts"),
    "open quote": (b'data:\n  train: "a\n', "{}:"),
    "wrong indentation": (b"train:\n  steps: 1\n seed: 2\n", "{}:3: "),
    "JSON list": (b"[1, 2, 3]", "{}:1: expected `key: value`, found a list"),
    "random bytes": (bytes(range(256)) * 64, "{}:1: "),
    "larger than any configuration": (b"#" * (1 << 20) + b"\n", "{}: larger than the 1048576 bytes"),
}

MODELS = {
    "empty": (b"", "{}: "),
    "text": (b"this is no model\n", "{}: "),
    "zeros": (bytes(4096), "{}: "),
    "random bytes": (bytes(range(256)) * 64, "{}: "),
    "field of 2^60 bytes": (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 64, "{}: "),
    "deep groups": (b"\x0b" * 1_000_000, "{}: "),
    "one piece": (b"\x0a\x0a\x0a\x03abc\x15\0\0\0\0", "{}: "),
}

MANIFESTS = {
    "empty": (b"", "not JSON at byte 1"),
    "open": (b'{"format": ', "not JSON at byte"),
    "duplicate key": (b'{"format": "palimpsest checkpoint", "format": "x"}', "the key 'format' is given twice"),
    "deep": (b"[" * 1_000_000, "JSON nested deeper than 64 levels"),
    "deep objects": (b'{"a":' * 1_000_000, "JSON nested deeper than 64 levels"),
    "very many values": (b"[" + b"0," * 5_000_000 + b"0]", "JSON of more than"),
    "other format": (b'{"format": "safetensors"}', "expected 'palimpsest checkpoint'"),
    "not an object": (b"[1]", "not a checkpoint's manifest"),
    "UTF-16": ("{}".encode("utf-16"), "not JSON at byte"),
    "invalid UTF-8": (b'{"format": "\xff"}', "not JSON at byte"),
    "zero byte": (b'{"format": "palimpsest checkpoint"\0}', "not JSON at byte"),
    "trailing": (b"{} {}", "not JSON at byte"),
}


class Hostile(EndToEndTest):
    def refuse(self, path, expected, *arguments, codes=(CONFIGURATION, INPUT), stdin=subprocess.DEVNULL):
        """Runs the program, which has to fail with `expected` in its one line of error."""
        command = [PROGRAM] + [str(argument) for argument in arguments]
        result = subprocess.run(command, stdin=stdin, capture_output=True, env=environment(),
                                preexec_fn=limits, timeout=2 * SECONDS, check=False)
        error = result.stderr.decode("utf-8", "replace")
        shown = f"{arguments}\n{error[:2000]}"
        self.assertIn(result.returncode, codes, shown)
        lines = [line for line in error.splitlines() if line.startswith("palimpsest: error: ")]
        self.assertEqual(len(lines), 1, shown)
        # Where a line has a column, too, the column is left out.
        by_line = re.sub(rf"({re.escape(str(path))}:\d+):\d+: ", r"\1: ", error)
        self.assertIn(expected.replace("{}", str(path)), by_line, shown)
        self.assertLess(len(error), 20_000)
        self.assertNotIn("\x1b", error)
        return error

    def scratch(self, content=None, name="file"):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        if content is not None:
            (folder / name).write_bytes(content)
        return folder / name

    def no_files(self):
        """Paths that are no file of any use."""
        yield "missing", self.scratch()
        folder = self.scratch()
        folder.mkdir()
        yield "folder", folder
        pipe = self.scratch()
        os.mkfifo(pipe)
        yield "pipe", pipe
        yield "endless device", pathlib.Path("/dev/zero")
        yield "terminal", pathlib.Path("/dev/tty")
        loop = self.scratch()
        loop.symlink_to(loop)
        yield "link to itself", loop
        dangling = self.scratch()
        dangling.symlink_to("nothing")
        yield "link to nothing", dangling
        yield "name too long", self.folder / ("x" * 300)
        yield "below a file", self.scratch(b"") / "below"
        giant = self.scratch(b"")
        os.truncate(giant, 1 << 42)
        yield "giant", giant

    def test_configurations(self):
        for name, (content, expected) in YAML.items():
            with self.subTest(name):
                path = self.scratch(content)
                self.refuse(path, expected, "train", path, "--plan", codes=(CONFIGURATION,))

    def test_tokenizer_models(self):
        for name, (content, expected) in MODELS.items():
            with self.subTest(name):
                path = self.scratch(content)
                self.refuse(path, expected, "tokenizer", "info", path, codes=(INPUT,))

    def test_what_is_no_file(self):
        for name, path in self.no_files():
            with self.subTest(name):
                self.refuse(path, "{}", "train", path)
                self.refuse(path, "{}", "tokenizer", "info", path, codes=(INPUT,))
                self.refuse(path, "{}", "pack", "--check", path, codes=(INPUT,))
                self.refuse(path, "{}", "inspect", path)
        config = self.config("no-files")
        for name, path in self.no_files():
            with self.subTest(f"data.train: {name}"):
                self.refuse(path, "{}", "train", config, "--set", f"data.train={path}", codes=(INPUT,))

    def test_endless_texts(self):
        for arguments in (("tokenizer", "encode", "bytes"), ("generate", "no-model", "--prompt-file", "-")):
            with self.subTest(arguments), open("/dev/zero", "rb") as endless:
                self.refuse(None, "standard input: has more than 1073741824 bytes", *arguments, codes=(INPUT,), stdin=endless)

    def test_manifests(self):
        self.run_program("train", self.config("manifest"), "--stop-after", 1)
        checkpoint = self.checkpoint("manifest", 1)
        for name, (content, expected) in MANIFESTS.items():
            with self.subTest(name):
                copy = self.scratch()
                shutil.copytree(checkpoint, copy)
                (copy / "manifest.json").write_bytes(content)
                self.refuse(copy, "damaged", "inspect", copy, codes=(INPUT,))
                self.forge(copy)
                self.refuse(copy, expected, "inspect", copy, codes=(INPUT,))

    def forge(self, checkpoint):
        """Makes the manifest's hash right."""
        text = subprocess.run(["xxhsum", "-H2", "manifest.json"], cwd=checkpoint, check=True, capture_output=True).stdout
        (checkpoint / "manifest.json.xxh128").write_bytes(text)

    def test_manifests_that_lie(self):
        self.run_program("train", self.config("lies"), "--stop-after", 1)
        original = self.checkpoint("lies", 1)
        outside = self.scratch((original / "state-00000.h5").read_bytes(), "state-00000.h5")
        lies = {
            "file outside": (lambda m: m["files"][0].update(name="../state-00000.h5"), "'../state-00000.h5'"),
            "absolute file": (lambda m: m["files"][0].update(name=str(outside)), "state-00000.h5' is expected"),
            "another size": (lambda m: m["files"][0].update(bytes=1), "not a part of file"),
            "negative size": (lambda m: m["files"][0].update(bytes=-1), "'bytes' is -1"),
            "another hash": (lambda m: m["files"][0].update(xxh128="0" * 32), "damaged"),
            "no files": (lambda m: m.update(files=[]), "has no entry"),
            "step of text": (lambda m: m.update(step="1"), "'step' is"),
            "step of a fraction": (lambda m: m.update(step=1.5), "'step' is"),
            "unknown version": (lambda m: m.update(version=99), "'version' is 99"),
            "no state": (lambda m: m.update(training_state=None), "{}: "),
            "state of huge numbers": (lambda m: m["training_state"]["progress"].update(tokens=1e300), "tokens"),
            "negative counter": (lambda m: m["training_state"]["progress"].update(tokens=-5), "tokens"),
            "cursor of fractions": (lambda m: m["training_state"]["cursor"].update(steps=0.5), "steps"),
            "other configuration": (lambda m: m.update(config="model:\n  hidden_siz: 1\n"), "hidden_siz"),
            "bombs in the configuration": (lambda m: m.update(config="[" * 100_000), "{}"),
            "tokenizer that is none": (lambda m: m["training_state"]["tokenizer"].update(identity="sentencepiece:x"), "SentencePiece model"),
        }
        for name, (change, expected) in lies.items():
            with self.subTest(name):
                copy = self.scratch()
                shutil.copytree(original, copy)
                manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
                change(manifest)
                (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
                self.forge(copy)
                self.refuse(copy, expected, "inspect", copy)


if __name__ == "__main__":
    unittest.main()

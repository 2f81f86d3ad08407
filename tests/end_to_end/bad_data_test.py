"""Data that can be read but not used, data that changed under a run, and who may read what a run leaves behind."""
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest

import h5py

from harness import EndToEndTest, PROGRAM, TIMEOUT, environment, text

CONFIGURATION, INPUT = 2, 3


class BadData(EndToEndTest):
    def copy_of(self, split):
        return pathlib.Path(shutil.copy(self.folder / f"{split}.h5", tempfile.mkdtemp(dir=self.folder)))

    def refuse(self, *arguments, expect, holds):
        error = self.run_program(*arguments, expect=expect).stderr
        for part in holds:
            self.assertIn(str(part), error)
        self.assertEqual(error.count("palimpsest: error: "), 1, error)

    def test_empty_splits(self):
        for name, content in {"nothing": {}, "empty files": {"a.txt": b"", "b.txt": b" \n"}, "no text": {"a.txt": b"\xff\xfe"}}.items():
            with self.subTest(name):
                folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
                for file, data in content.items():
                    (folder / file).write_bytes(data)
                output = folder / "out.h5"
                self.refuse("pack", folder, output, expect=INPUT, holds=[folder])
                self.assertFalse(output.exists())

    def test_too_few_tokens_for_the_batch(self):
        config = self.config("few")
        self.refuse("train", config, "--set", "train.batch_size=4096", expect=INPUT,
                    holds=[self.folder / "train.h5", "too few for a batch of 4096 lanes"])

    def test_token_outside_the_vocabulary(self):
        path = self.copy_of("train")
        with h5py.File(path, "r+") as file:
            file["tokens"][17] = 60_000
        wrong = [path, "token 60000 at offset 17 is outside the vocabulary of 258 tokens"]
        self.refuse("pack", "--check", path, expect=INPUT, holds=wrong)
        self.refuse("train", self.config("outside"), "--set", f"data.train={path}", "train.steps=200", expect=INPUT, holds=wrong)

    def test_vocabulary_of_the_model_is_too_small(self):
        self.refuse("train", self.config("small"), "--set", "model.vocab_size=100", expect=CONFIGURATION,
                    holds=["model.vocab_size is 100", self.folder / "train.h5", "258 tokens"])

    def test_changed_token(self):
        path = self.copy_of("train")
        with h5py.File(path, "r+") as file:
            file["tokens"][17] = (int(file["tokens"][17]) + 1) % 256
        self.refuse("pack", "--check", path, expect=INPUT, holds=[path, "the checksum of the tokens is"])

    def test_cut_and_longer_files(self):
        whole = (self.folder / "train.h5").read_bytes()
        path = self.copy_of("train")
        for length in (0, 1, 8, 100, 1000, len(whole) // 2, len(whole) - 1):
            with self.subTest(length):
                path.write_bytes(whole[:length])
                self.refuse("train", self.config("cut"), "--set", f"data.train={path}", expect=INPUT, holds=[path])
        path.write_bytes(whole + b"more")
        self.refuse("train", self.config("longer"), "--set", f"data.train={path}", expect=INPUT,
                    holds=[path, f"{len(whole) + 4} bytes, but its HDF5 structure ends at byte {len(whole)}"])

    def test_data_that_changed_since_the_checkpoint(self):
        path = self.copy_of("train")
        config = self.config("changed-data")
        self.run_program("train", config, "--set", f"data.train={path}", "--stop-after", 2)
        elsewhere = path.with_name("moved.h5")
        path.rename(elsewhere)
        self.run_program("train", config, "--set", f"data.train={elsewhere}", "--stop-after", 3)  # same content
        corpus = path.parent / "corpus"
        shutil.copytree(self.folder / "corpus" / "train", corpus)
        (corpus / "0.txt").write_text(text(900, "another"), encoding="utf-8")
        self.run_program("pack", corpus, path)
        self.refuse("train", config, "--set", f"data.train={path}", expect=CONFIGURATION,
                    holds=[path, "the checksum of the training data was"])

    def test_another_tokenizer(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        model, packed = folder / "a.model", folder / "a.h5"
        self.run_program("tokenizer", "train", self.folder / "corpus" / "train", model, "--vocab-size", 280)
        self.run_program("pack", self.folder / "corpus" / "test", packed, "--tokenizer", model)
        config = self.config("tokenizer")
        self.run_program("train", config, "--stop-after", 1)
        self.refuse("eval", self.folder / "tokenizer", "--data", packed, expect=INPUT,
                    holds=[packed, "was packed with tokenizer sentencepiece:", "the model was trained with bytes"])
        self.refuse("train", config, "--set", f"data.validation={packed}", expect=INPUT,
                    holds=[packed, "was packed with tokenizer sentencepiece:"])
        self.refuse("train", config, "--set", f"data.train={packed}", "data.validation=", expect=CONFIGURATION, holds=["vocab_size"])


class Permissions(EndToEndTest):
    def test_files_follow_the_umask(self):
        for mask in (0o077, 0o022):
            with self.subTest(oct(mask)):
                run = f"umask-{mask:o}"
                packed = self.folder / f"packed-{mask:o}.h5"
                for arguments in (["pack", self.folder / "corpus" / "test", packed],
                                  ["train", self.config(run)], ["eval", self.folder / run]):
                    subprocess.run([PROGRAM] + [str(argument) for argument in arguments], check=True, capture_output=True,
                                   env=environment(), timeout=TIMEOUT, preexec_fn=lambda: os.umask(mask))
                paths = [packed, self.folder / run, *(self.folder / run).rglob("*")]
                self.assertGreater(len(paths), 10)
                for path in paths:
                    mode = stat.S_IMODE(path.stat().st_mode)
                    everything = 0o777 if path.is_dir() else 0o666
                    self.assertEqual(oct(mode), oct(everything & ~mask), path)


if __name__ == "__main__":
    unittest.main()

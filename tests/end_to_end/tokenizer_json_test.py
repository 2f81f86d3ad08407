"""A model with byte-level BPE in tokenizer.json: imported, packed for, evaluated, trained, asked and exported again."""
import json
import shutil
import unittest

import h5py

import harness

SPECIAL = {"<s>": 290, "</s>": 291, "<note>": 292}


def spelling(byte):
    """As vocabularies write a byte."""
    prints = [b for b in range(256) if 0x21 <= b <= 0x7E or (b >= 0xA1 and b != 0xAD)]
    return chr(byte if byte in prints else 256 + [b for b in range(256) if b not in prints].index(byte))


def description():
    vocabulary = {spelling(byte): byte for byte in range(256)}
    merges = []
    for word in ("the", "memory", " of", "é"):
        parts = [spelling(byte) for byte in word.encode()]
        while len(parts) > 1:
            if f"{parts[0]} {parts[1]}" not in merges:
                merges.append(f"{parts[0]} {parts[1]}")
                vocabulary[parts[0] + parts[1]] = 256 + len(merges) - 1
            parts[:2] = [parts[0] + parts[1]]
    return {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": content, "special": True} for content, number in SPECIAL.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


class TokenizerJson(harness.EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls("run_program")
        # As somebody else would have published it: what Palimpsest alone knows of the model is not there.
        test.run_program("train", test.config("bytes", model={"vocab_size": 300}))
        cls.published = cls.folder / "published"
        test.run_program("export", cls.folder / "bytes", cls.published)
        config = cls.published / "config.json"
        content = json.loads(config.read_text(encoding="utf-8"))
        content["palimpsest"]["tokenizer"] = None
        config.write_text(json.dumps(content), encoding="utf-8")
        # Laid out as no writer of ours would.
        cls.json = json.dumps(description(), ensure_ascii=False, indent=3).encode() + b" \n\n"
        (cls.published / "tokenizer.json").write_bytes(cls.json)
        (cls.published / "tokenizer_config.json").write_text(
            json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>"}), encoding="utf-8")
        test.run_program("import", cls.published, cls.folder / "run")
        cls.tokenizer = cls.folder / "run" / "tokenizer.json"
        for split in ("train", "validation", "test"):
            test.run_program("pack", cls.folder / "corpus" / split, cls.folder / "packed" / f"{split}.h5",
                             "--tokenizer", cls.tokenizer)

    def info(self, tokenizer):
        lines = self.run_program("tokenizer", "info", tokenizer).stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def test_comes_back_from_an_export_byte_for_byte(self):
        self.assertEqual(self.tokenizer.read_bytes(), self.json)
        exported = self.folder / "exported"
        self.run_program("export", self.folder / "run", exported)
        self.assertEqual((exported / "tokenizer.json").read_bytes(), self.json)
        config = json.loads((exported / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.assertEqual((config["bos_token"], config["eos_token"]), ("<s>", "</s>"))
        self.run_program("import", exported, self.folder / "again")
        self.assertEqual((self.folder / "again" / "tokenizer.json").read_bytes(), self.json)
        self.assertEqual(self.info(self.folder / "again" / "tokenizer.json"), self.info(self.tokenizer))

    def test_token_files_and_checkpoints_hold_it(self):
        identity = self.info(self.tokenizer)["identity"]
        self.assertRegex(identity, "^byte_pair:[0-9a-f]{32}$")
        with h5py.File(self.folder / "packed" / "test.h5") as file:
            self.assertEqual(file.attrs["tokenizer"].decode(), identity)
            self.assertTrue(file["tokenizer_model"][()].tobytes().endswith(self.json))
        self.run_program("pack", "--check", self.folder / "packed" / "test.h5")
        evaluation = self.folder / "evaluation.json"
        self.run_program("eval", self.folder / "run", "--data", self.folder / "packed" / "test.h5", "--json",
                         evaluation)
        tokens = json.loads(evaluation.read_text(encoding="utf-8"))["total"]["tokens"]
        with h5py.File(self.folder / "packed" / "test.h5") as file:
            documents = len(file["documents/words"])
            self.assertEqual(tokens, len(file["tokens"]) - 2 * documents)  # not those that begin and end one
        error = self.run_program("eval", self.folder / "run", "--data", self.folder / "test.h5", expect=3).stderr
        self.assertIn(identity, error)

    def test_trains_a_model_that_needs_the_file_no_longer(self):
        config = self.config("trained", data={split: self.folder / "packed" / f"{split}.h5"
                                              for split in ("train", "validation", "test")})
        copy = self.folder / "moved.json"
        shutil.copy(self.tokenizer, copy)
        self.run_program("train", config)
        before = self.run_program("generate", self.folder / "trained", "--prompt", "the memory", "--temperature", 0)
        self.assertTrue(before.stdout.startswith("the memory"))
        self.run_program("export", self.folder / "trained", self.folder / "hub")
        self.assertEqual((self.folder / "hub" / "tokenizer.json").read_bytes(), self.json)
        self.run_program("import", self.folder / "hub", self.folder / "back")
        after = self.run_program("generate", self.folder / "back", "--prompt", "the memory", "--temperature", 0)
        self.assertEqual(after.stdout, before.stdout)

    def test_prompts_spell_special_tokens_where_asked(self):
        def prompt_tokens(*options):
            result = self.run_program("generate", self.folder / "run", "--prompt", "<note>the memory</s>",
                                      "--max-tokens", 1, *options)
            return int(result.stderr.split(" prompt tokens")[0].split()[-1])
        self.assertEqual(prompt_tokens("--special-tokens"), 1 + 5)  # <note>, the, a space, memory, </s>
        self.assertEqual(prompt_tokens(), 1 + 6 + 3 + 4)
        prompts, results = self.folder / "prompts.txt", self.folder / "results.jsonl"
        prompts.write_text("<note>the\n", encoding="utf-8")
        self.run_program("generate", self.folder / "run", "--batch", prompts, "--out", results, "--special-tokens",
                         "--max-tokens", 1)
        self.assertEqual(json.loads(results.read_text(encoding="utf-8"))["prompt_tokens"], 1 + 2)

    def test_text_to_tokens_and_back(self):
        text = "the memory of\t<s>é 漢字 \U0001d11e</s>\n"
        tokens = self.run_program("tokenizer", "encode", self.tokenizer, text).stdout.split()
        self.assertEqual(self.run_program("tokenizer", "decode", self.tokenizer, *tokens).stdout, text + "\n")
        self.assertNotIn("290", tokens)
        special = self.run_program("tokenizer", "encode", self.tokenizer, text, "--special-tokens").stdout.split()
        self.assertEqual((special.count("290"), special.count("291")), (1, 1))
        info = self.info(self.tokenizer)
        self.assertEqual((info["vocabulary"], info["begin"], info["end"]), ("293", "290", "291"))

    def test_what_is_not_supported_is_named(self):
        folder = self.folder / "other"
        shutil.copytree(self.published, folder)
        changed = description()
        changed["normalizer"] = {"type": "Lowercase"}
        (folder / "tokenizer.json").write_text(json.dumps(changed), encoding="utf-8")
        error = self.run_program("import", folder, self.folder / "refused", expect=3).stderr
        self.assertIn("other/tokenizer.json: \"normalizer\" is {\"type\":\"Lowercase\"}, which is not supported", error)
        self.assertFalse((self.folder / "refused").exists())
        (folder / "tokenizer.json").unlink()
        error = self.run_program("import", folder, self.folder / "refused", expect=3).stderr
        self.assertIn("has no tokenizer.model and no tokenizer.json", error)


if __name__ == "__main__":
    unittest.main()

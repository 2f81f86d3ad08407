"""Models that leave as Hugging Face folders and come back, through the program as a user runs it."""
import json
import unittest

import harness


class ImportExport(harness.EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls("run_program")
        test.run_program("train", test.config("trained"))
        test.run_program("eval", cls.folder / "trained", "--data", cls.folder / "test.h5")

    def loss(self, run):
        result = self.folder / f"{run}.json"
        self.run_program("eval", self.folder / run, "--data", self.folder / "test.h5", "--json", result)
        return json.loads(result.read_text(encoding="utf-8"))["total"]["negative_log_likelihood"]

    def greedy(self, run):
        return self.run_program("generate", self.folder / run, "--prompt", "the memory of", "--temperature", 0,
                                "--max-tokens", 40).stdout

    def test_what_is_exported_is_imported_bit_for_bit(self):
        exported = self.folder / "hub" / "model"
        self.run_program("export", self.folder / "trained", f"{exported}/", "--licence", "mit", "--shard-size", 1e-5)
        self.assertGreater(len(list(exported.glob("model-*.safetensors"))), 1)
        self.assertIn("test.h5", (exported / "README.md").read_text(encoding="utf-8"))
        self.run_program("import", exported, self.folder / "again")
        self.assertEqual(self.loss("again"), self.loss("trained"))
        self.assertEqual(self.greedy("again"), self.greedy("trained"))
        before, after = self.tensors("trained", 8), self.tensors("again", 0)
        self.assertEqual(after, {name: value for name, value in before.items() if name.startswith("parameters/")})
        shown = json.loads(self.run_program("inspect", self.folder / "again", "--json").stdout)
        self.assertEqual(shown["step"], 0)
        # Neither goes over what is there.
        self.assertIn("exists already", self.run_program("import", exported, self.folder / "again", expect=4).stderr)
        self.assertIn("--force", self.run_program("export", self.folder / "trained", exported, expect=4).stderr)
        self.run_program("export", self.folder / "trained", exported, "--force", "--type", "bfloat16")
        self.assertEqual([file.name for file in exported.glob("*.safetensors")], ["model.safetensors"])
        self.assertEqual(json.loads((exported / "config.json").read_text(encoding="utf-8"))["torch_dtype"], "bfloat16")

    def test_an_imported_run_is_not_resumed(self):
        exported = self.folder / "exported"
        self.run_program("export", self.folder / "trained", exported)
        self.run_program("import", exported, self.folder / "imported", "--set", "train.steps=9")
        error = self.run_program("train", self.config("imported"), expect=2).stderr
        self.assertIn("holds a model alone", error)

    def test_a_model_without_memory_is_imported_with_one(self):
        self.run_program("train", self.config("windows"), "--set", "model.attention.kind=local", "train.steps=1")
        exported = self.folder / "windows-exported"
        self.run_program("export", self.folder / "windows", exported)
        said = self.run_program("import", exported, self.folder / "with-memory", "--set", "model.attention.kind=infini",
                                "model.attention.memory_readout=rms").stdout
        self.assertIn("4 tensors of them new: layers.0.self_attn.", said)  # gate and gain of both layers
        result = self.folder / "with-memory.json"
        self.run_program("eval", self.folder / "with-memory", "--data", self.folder / "test.h5", "--memory", "none", "--json", result)
        self.assertEqual(json.loads(result.read_text(encoding="utf-8"))["total"]["negative_log_likelihood"], self.loss("windows"))
        # What an exported model had itself is not made up.
        config = exported / "config.json"
        description = json.loads(config.read_text(encoding="utf-8"))
        description["palimpsest"]["config"] = description["palimpsest"]["config"].replace("kind: local", "kind: infini")
        config.write_text(json.dumps(description), encoding="utf-8")
        error = self.run_program("import", exported, self.folder / "lost", "--set", "model.attention.initial_gate=-3", expect=3).stderr
        self.assertIn("has no tensor 'palimpsest.layers.0.self_attn.memory_gate'", error)

    def test_what_is_no_model_is_named(self):
        folder = self.folder / "no-model"
        folder.mkdir()
        self.assertIn("config.json: no such file", self.run_program("import", folder, folder / "run", expect=3).stderr)
        (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
        error = self.run_program("import", folder, folder / "run", expect=3).stderr
        self.assertIn("supported are llama, mistral, qwen2 and qwen3", error)
        self.assertFalse((folder / "run").exists())


if __name__ == "__main__":
    unittest.main()

"""Evaluations that are disturbed: of `eval`, and inside a training run."""
import csv
import json
import shutil
import signal
import subprocess
import time
import unittest

import numpy

from harness import PROGRAM, TIMEOUT, EndToEndTest, text


class DisturbedEvaluation(EndToEndTest):
    """Evaluates a split that takes some seconds, one of its documents being short."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for index, length in enumerate([150, 120_000, 120_000, 120_000]):
            file = cls.folder / "corpus" / "long" / f"{index}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text(150, f"long{index}") * (length // 150), encoding="utf-8")
        subprocess.run([PROGRAM, "pack", cls.folder / "corpus" / "long", cls.folder / "long.h5"], check=True, capture_output=True, timeout=TIMEOUT)


class Eval(DisturbedEvaluation):
    def test_interrupt_leaves_the_complete_documents_and_an_earlier_result(self):
        config = self.config("interrupted")
        self.run_program("train", config, "--stop-after", 2)
        result = self.folder / "interrupted" / "evaluation" / "long-step-00000002.json"
        partial = result.with_suffix(".partial.json")
        result.parent.mkdir()
        result.write_text("an earlier result")
        process, terminal = self.start_on_terminal("eval", config, "--data", self.folder / "long.h5", "--threads", 1)
        self.read_until(terminal, r"[1-9] %")
        process.send_signal(signal.SIGINT)
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 130, shown)
        self.assertIn("Stopped by SIGINT: 1 document complete, 3 not", shown)
        self.assertIn("complete ones: 1", shown)
        self.assertEqual(result.read_text(), "an earlier result")
        content = json.loads(partial.read_text())
        self.assertFalse(content["complete"])
        self.assertEqual(content["unfinished_documents"], 3)
        self.assertEqual([document["name"] for document in content["documents"]], ["0"])
        self.assertEqual(content["total"]["tokens"], content["documents"][0]["tokens"])

    def test_without_memory_beside_the_result_with_it(self):
        config = self.config("knocked-out")
        self.run_program("train", config, "--stop-after", 2)
        for memory in "kept", "none", "reset:2":
            self.run_program("eval", config, "--memory", memory)
        folder = self.folder / "knocked-out" / "evaluation"
        names = {file.name: json.loads(file.read_text()) for file in folder.iterdir()}
        self.assertEqual({name: content["memory"] for name, content in names.items()},
                         {"test-step-00000002.json": "kept", "test-step-00000002-memory-none.json": "none",
                          "test-step-00000002-memory-reset-2.json": "reset:2"})
        self.assertEqual(len({content["total"]["negative_log_likelihood"] for content in names.values()}), 3)
        self.assertEqual(len({content["total"]["tokens"] for content in names.values()}), 1)
        self.assertIn("'reset:0' is not kept, none or reset:SEGMENTS",
                      self.run_program("eval", config, "--memory", "reset:0", expect=2).stderr)

    def test_positions_add_up(self):
        config = self.config("positions")
        self.run_program("train", config, "--stop-after", 2)
        self.run_program("eval", config, "--json", self.folder / "positions.json")
        content = json.loads((self.folder / "positions.json").read_text())
        self.assertTrue(content["complete"])
        for key in "by_position", "by_position_in_segment", "by_compressions":
            self.assertEqual(sum(bucket["tokens"] for bucket in content[key]), content["total"]["tokens"])
            self.assertAlmostEqual(sum(bucket["negative_log_likelihood"] for bucket in content[key]),
                                   content["total"]["negative_log_likelihood"], delta=1e-6 * content["total"]["negative_log_likelihood"])
        self.assertEqual([(bucket["begin"], bucket["end"]) for bucket in content["by_position"]][0], (0, 512))
        self.assertEqual([(bucket["begin"], bucket["end"]) for bucket in content["by_position_in_segment"]], [(0, 16)])

    def test_standard_errors_in_every_output(self):
        config = self.config("errors")
        self.run_program("train", config, "--stop-after", 2)
        shown = self.run_program("eval", config, "--json", self.folder / "errors.json", "--csv", self.folder / "errors.csv").stdout
        self.assertIn("standard error", shown)
        self.assertIn("compressions behind the token", shown)
        content = json.loads((self.folder / "errors.json").read_text())
        nll, tokens = (numpy.array([document[key] for document in content["documents"]], dtype=float)
                       for key in ("negative_log_likelihood", "tokens"))
        rate, count = nll.sum() / tokens.sum(), len(nll)
        error = numpy.exp(rate) * numpy.sqrt(count / (count - 1) * ((nll - rate * tokens) ** 2).sum()) / tokens.sum()
        self.assertAlmostEqual(content["total"]["standard_error"]["token_perplexity"], error, delta=1e-9 * error)
        with open(self.folder / "errors.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["name"] for row in rows if row["table"] == "document"], ["0", "1", "2", "3"])
        total = [row for row in rows if row["table"] == "total"]
        self.assertEqual(float(total[0]["token_perplexity_standard_error"]), content["total"]["standard_error"]["token_perplexity"])
        for table in "by_position", "by_position_in_segment", "by_compressions":
            self.assertEqual([(int(row["begin"]), int(row["tokens"])) for row in rows if row["table"] == table],
                             [(bucket["begin"], bucket["tokens"]) for bucket in content[table]])

    def test_texts_of_the_command_line_as_those_that_were_packed(self):
        config = self.config("texts")
        self.run_program("train", config, "--stop-after", 2)
        test = self.folder / "corpus" / "test"
        results = []
        for name, arguments, ranks in (("packed", [], 1), ("folder", [test], 1), ("files", sorted(test.iterdir()), 2)):
            self.run_program("eval", config, *arguments, "--json", self.folder / f"{name}.json", ranks=ranks)
            results.append(json.loads((self.folder / f"{name}.json").read_text()))
        packed, folder, files = results
        self.assertEqual([document["name"] for document in folder["documents"]], [f"{test}/{i}.txt" for i in range(4)])
        self.assertEqual(files["data_checksum"], folder["data_checksum"])
        for result in folder, files:
            for key in "tokens", "words", "bytes":
                self.assertEqual(result["total"][key], packed["total"][key])
            self.assert_close([result["total"]["negative_log_likelihood"]], [packed["total"]["negative_log_likelihood"]], 1e-6)
        self.assertEqual(list((self.folder / "texts").glob("evaluation/*")), [])
        self.assertIn("cannot be read", self.run_program("eval", config, test / "none.txt", expect=3).stderr)
        self.assertIn("excludes", self.run_program("eval", config, test, "--split", "test", expect=2).stderr)

    def test_windows(self):
        for kind in "local", "full":
            config = self.config(f"windows-{kind}", model={"attention": "{kind: %s}" % kind}, train={"carry_memory": "false"})
            self.run_program("train", config, "--stop-after", 2)
            self.run_program("eval", config)
            self.run_program("eval", config, "--window", 16, "--stride", 4, ranks=2)
            self.run_program("eval", config, "--window", 16, "--stride", 4, "--batch-size", 1, "--json", self.folder / "single.json")
            folder = self.folder / f"windows-{kind}" / "evaluation"
            plain = json.loads((folder / "test-step-00000002.json").read_text())
            windows = json.loads((folder / "test-step-00000002-window-16-stride-4.json").read_text())
            single = json.loads((self.folder / "single.json").read_text())
            self.assertEqual((windows["window"], windows["stride"]), (16, 4))
            self.assertEqual(windows["total"]["tokens"], plain["total"]["tokens"])
            self.assertNotEqual(windows["total"]["negative_log_likelihood"], plain["total"]["negative_log_likelihood"])
            self.assert_close([windows["total"]["negative_log_likelihood"]], [single["total"]["negative_log_likelihood"]], 1e-6)
        self.run_program("eval", config, "--window", 5000, "--stride", 5000, "--json", self.folder / "whole.json")
        whole = json.loads((self.folder / "whole.json").read_text())
        self.assert_close([whole["total"]["negative_log_likelihood"]], [plain["total"]["negative_log_likelihood"]], 1e-6)
        for stride in [], ["--stride", 1]:
            self.assertIn("--window is 9223372036854775807: expected 1 to 1099511627776 tokens",
                          self.run_program("eval", config, "--window", 2**63 - 1, *stride, expect=2).stderr)
        self.assertIn("sees no further than its segment, of 16 tokens",
                      self.run_program("eval", self.folder / "windows-local", "--window", 17, expect=2).stderr)
        config = self.config("windows-infini")
        self.run_program("train", config, "--stop-after", 2)
        self.assertIn("carries what it has read", self.run_program("eval", config, "--window", 16, expect=2).stderr)
        self.assertIn("--stride is 17: expected 1 to 16",
                      self.run_program("eval", config, "--window", 16, "--stride", 17, expect=2).stderr)

    def test_compared(self):
        for run, steps in ("short", 2), ("longer", 8):
            config = self.config(run)
            self.run_program("train", config, "--stop-after", steps)
            self.run_program("eval", config)
            self.run_program("eval", config, "--memory", "none")
        short, longer = self.folder / "short", self.folder / "longer"
        output = ["--json", self.folder / "compared.json", "--csv", self.folder / "compared.csv"]
        shown = self.run_program("compare", short, f"{longer}/", *output).stdout
        self.assertIn(f"against {short}", shown)
        content = json.loads((self.folder / "compared.json").read_text())
        self.assertEqual([run["step"] for run in content["runs"]], [2, 8])
        self.assertEqual(content["documents"], 4)
        results = [json.loads((run / "evaluation" / f"test-step-0000000{step}.json").read_text()) for run, step in ((short, 2), (longer, 8))]
        first, second = (result["total"]["negative_log_likelihood"] for result in results)
        difference = content["runs"][1]["difference"]
        self.assertAlmostEqual(difference["nats_per_token"], (second - first) / results[0]["total"]["tokens"], places=9)
        self.assertEqual((difference["better"], difference["worse"], difference["sign_test"]), (4, 0, 0.125))
        self.assertEqual(len(difference["by_compressions"]), len(results[0]["by_compressions"]))
        self.assertIn("difference,", (self.folder / "compared.csv").read_text())
        none = longer / "evaluation" / "test-step-00000008-memory-none.json"
        self.assertIn("none", self.run_program("compare", longer, none).stdout)
        self.run_program("eval", self.folder / "short.yaml", "--split", "validation")
        other = short / "evaluation" / "validation-step-00000002.json"
        self.assertIn("are not of the same documents", self.run_program("compare", short, other, expect=3).stderr)
        self.assertIn("holds no complete result of", self.run_program("compare", short, longer, "--split", "validation", expect=3).stderr)
        self.assertIn("RUN", self.run_program("compare", short, expect=2).stderr)


    def test_sets_by_name(self):
        runs = {}
        for run in "sets", "moved":  # the same files, under other paths
            for name, file in ("books", "test"), ("law", "validation"):
                (self.folder / run / name).mkdir(parents=True)
                shutil.copy(self.folder / f"{file}.h5", self.folder / run / name / "validation.h5")
            sets = ", ".join(f"{{name: {name}, file: {self.folder}/{run}/{name}/validation.h5}}" for name in ("books", "law"))
            config = runs[run] = self.config(f"run-{run}", evaluation={"sets": f"[{sets}]"})
            self.run_program("train", config, "--stop-after", 2)
            for name in "books", "law":
                self.run_program("eval", self.folder / f"run-{run}", "--split", name)
        folder = self.folder / "run-sets" / "evaluation"
        results = {file.name: json.loads(file.read_text()) for file in folder.iterdir()}
        self.assertEqual({name: (result["set"], len(result["documents"])) for name, result in results.items()},
                         {"books-step-00000002.json": ("books", 4), "law-step-00000002.json": ("law", 1)})
        compared = self.folder / "compared-sets.json"
        for name, documents in ("books", 4), ("law", 1):
            self.run_program("compare", self.folder / "run-sets", self.folder / "run-moved", "--split", name, "--json", compared)
            self.assertEqual(json.loads(compared.read_text())["documents"], documents)
        # A run may go on with another path to the same file; where there is no file, the path counts.
        config = runs["sets"].read_text(encoding="utf-8")
        runs["sets"].write_text(config.replace("/sets/books/", "/moved/books/"), encoding="utf-8")
        self.run_program("train", runs["sets"])
        comparison = ["compare", self.folder / "run-sets", self.folder / "run-moved", "--split", "books"]
        self.run_program(*comparison)
        (self.folder / "moved" / "books" / "validation.h5").unlink()
        self.assertIn("holds no complete result of", self.run_program(*comparison, expect=3).stderr)
        for command in (["eval", runs["moved"]], ["compare", self.folder / "run-moved", folder / "law-step-00000002.json"]):
            self.assertIn("--split is 'dev', expected train, validation, test or one of evaluation.sets, which are books, law",
                          self.run_program(*command, "--split", "dev", expect=2).stderr)


class Training(DisturbedEvaluation):
    def long_config(self, run, every=0, steps=8):
        config = self.config(run, checkpoint={"every": 4}, train={"steps": steps})
        content = config.read_text().replace(f"{self.folder}/validation.h5", f"{self.folder}/long.h5")
        config.write_text(content + f"\nevaluation:\n  every: {every}\n")
        return config

    def evaluations(self, run):
        return {line["step"]: line["negative_log_likelihood"] for line in self.metrics(run, "evaluation")}

    def start_evaluation(self, config):
        process, terminal = self.start_on_terminal("train", config)
        self.read_until(terminal, r"evaluating the validation split: [1-9] %")
        return process, terminal

    def test_killed_during_the_last_evaluation(self):
        config = self.long_config("killed")
        process, _ = self.start_evaluation(config)
        process.kill()
        process.wait(TIMEOUT)
        self.assertEqual(self.manifest("killed", 8)["step"], 8)
        self.assertEqual(self.evaluations("killed"), {})
        again = self.run_program("train", config)
        self.assertNotIn("Nothing to do", again.stdout)
        self.assertEqual(list(self.evaluations("killed")), [8])
        self.assertIn("Nothing to do", self.run_program("train", config).stdout)
        self.assertEqual(len(self.metrics("killed", "evaluation")), 1)
        reference = self.long_config("killed-reference")
        self.run_program("train", reference)
        self.assertEqual(self.evaluations("killed"), self.evaluations("killed-reference"))

    def test_stopped_during_an_evaluation_after_a_step_without_checkpoint(self):
        config = self.long_config("stopped", every=3, steps=4)
        process, terminal = self.start_evaluation(config)
        process.send_signal(signal.SIGTERM)
        shown = self.read_until(terminal, None)
        self.assertEqual(process.wait(TIMEOUT), 143, shown)
        self.assertIn("Stopped by SIGTERM after step 3", shown)
        self.assertEqual(self.manifest("stopped", 3)["step"], 3)
        self.assertEqual(self.evaluations("stopped"), {})
        self.run_program("train", config)
        self.assertEqual(list(self.evaluations("stopped")), [3, 4])
        reference = self.long_config("stopped-reference", every=3, steps=4)
        self.run_program("train", reference)
        self.assertEqual(self.evaluations("stopped"), self.evaluations("stopped-reference"))
        self.assert_same_checkpoint("stopped", "stopped-reference", 4)

    def test_a_checkpoint_under_way_is_published_meanwhile(self):
        config = self.long_config("published", every=4)
        process, _ = self.start_evaluation(config)
        deadline = time.monotonic() + TIMEOUT
        while not self.checkpoint("published", 4).exists() and time.monotonic() < deadline:
            self.assertEqual(self.evaluations("published"), {}, "the evaluation was faster than the checkpoint")
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(TIMEOUT), 143)
        self.assertEqual(self.evaluations("published"), {})

    def test_out_of_time(self):
        config = self.config("late")
        self.run_program("train", config, "--set", "data.validation=")
        config = self.long_config("late")
        self.assertIn("Stopped by train.time_limit after step 8",
                      self.run_program("train", config, "--set", "train.time_limit=0.001", expect=8).stdout)
        self.assertEqual(self.evaluations("late"), {})
        self.run_program("train", config)
        self.assertEqual(list(self.evaluations("late")), [8])


if __name__ == "__main__":
    unittest.main()

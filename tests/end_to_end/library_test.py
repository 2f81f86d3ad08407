"""Palimpsest as a library: the Python module and the C interface under it, and the installed tree with a project of its own that uses it."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import unittest
import warnings

import numpy

from harness import PROGRAM, SOURCE, TIMEOUT, EndToEndTest, environment, text

LIBRARY = pathlib.Path(os.environ["PALIMPSEST_LIBRARY"])
BUILD = LIBRARY.parent
HEADER = SOURCE / "launch" / "c_interface" / "palimpsest.h"
USER = SOURCE / "tests" / "library_user"
os.environ["OMP_NUM_THREADS"] = "1"  # as the harness has it for the program: the same bits
sys.path.insert(0, str(SOURCE / "launch" / "python"))
import palimpsest  # noqa: E402


class TrainedModels(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trained = cls()
        for run, kind in (("trained", "{kind: infini}"), ("other", "{kind: infini}"), ("full", "{kind: full}")):
            sections = {"model": {"attention": kind}, "train": {"carry_memory": "false"}}
            trained.run_program("train", trained.config(run, **sections), "--set", f"train.seed={len(run)}", "--set", "train.steps=40")

    def model(self, run="trained", **options):
        model = palimpsest.Model(self.folder / run, **options)
        self.addCleanup(model.close)
        return model

    def generated(self, *arguments, run="trained"):
        return self.run_program("generate", self.folder / run, *arguments).stdout


class Python(TrainedModels):
    def test_logits_are_those_that_the_program_draws_from(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("the memory\npalimpsest written over again and again\n", encoding="utf-8")
        results = map(json.loads, self.generated("--batch", prompts, "--lanes", 1, "--max-tokens", 40, "--log-probabilities").splitlines())
        for result in results:
            with self.model() as model, model.text(result["prompt"]) as continued:
                self.assertEqual(continued.position(), (0, result["prompt_tokens"]))
                for token, expected in zip(result["token_ids"], result["log_probabilities"]):
                    logits = continued.logits().astype(numpy.float64)
                    self.assertEqual(logits.shape, (model.vocabulary,))
                    largest = logits.max()
                    self.assertAlmostEqual(logits[token] - largest - numpy.log(numpy.exp(logits - largest).sum()), expected, delta=1e-5)
                    continued.append_tokens([token])
                self.assertEqual(model.decode(result["token_ids"]), result["text"])

    def test_generation_is_the_programs(self):
        options = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.1, "seed": 5}
        arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        expected = self.generated("--prompt", "the m", "--quiet", "--max-tokens", 60, *arguments)
        model = self.model()
        pieces = []
        with model.text("the m") as continued:
            self.assertEqual(continued.generate(60, write=pieces.append, **options) + "\n", expected)
            self.assertEqual((continued.generated, continued.finish), (60, "length"))
        self.assertEqual("".join(pieces) + "\n", expected)
        stopped = model.text("the m")
        stop = expected[20:23]
        self.assertEqual(stopped.generate(60, stop=stop, **options), expected[:expected.index(stop)])
        self.assertEqual(stopped.finish, "stop")
        interrupted = model.text("the m")
        interrupted.generate(60, write=lambda _: True, **options)
        self.assertEqual(interrupted.finish, "interrupted")
        self.assertLess(interrupted.generated, 60)

    def test_searches_and_what_may_not_repeat_are_the_programs(self):
        model = self.model()
        for options in ({"beams": 3, "length_penalty": 0.5, "no_repeat_ngram": 4}, {"no_repeat_ngram": 2, "min_tokens": 30, "seed": 4}):
            arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
            expected = self.generated("--prompt", "the m", "--quiet", "--max-tokens", 60, *arguments)
            self.assertEqual(model.text("the m").generate(60, **options) + "\n", expected)
            self.assertNotEqual(model.text("the m").generate(60, seed=options.get("seed", 1)) + "\n", expected)
        # So hot that the end token, one in 258, soon comes by itself.
        for min_tokens, finish in ((0, "end"), (900, "length")):
            continued = model.text("the m")
            continued.generate(900, temperature=50, seed=2, min_tokens=min_tokens)
            self.assertEqual(continued.finish, finish)
        for options, what in (({"beams": 0}, "beams"), ({"beams": 2, "temperature": 0.5}, "beams"), ({"min_tokens": -1}, "min-tokens"),
                              ({"no_repeat_ngram": -1}, "no-repeat-ngram"), ({"length_penalty": 2}, "length-penalty")):
            with self.assertRaisesRegex(palimpsest.ArgumentError, what):
                model.text("the").generate(3, **options)
        with self.assertRaisesRegex(TypeError, "no option size"):
            model.text("the").generate(3, size=8)

    def test_a_model_says_what_it_is(self):
        model = self.model()
        self.assertEqual((model.vocabulary, model.tokens, model.layers, model.segment_length, model.step), (258, 258, 2, 16, 40))
        self.assertEqual((model.begin_token, model.end_token), (256, 257))
        for sample in ("", "of é", "a\0b"):
            tokens = model.encode(sample)
            self.assertEqual(tokens.tolist(), list(sample.encode()))
            self.assertEqual(model.decode(tokens), sample)
        self.assertEqual(palimpsest.version(), re.search(r"palimpsest VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1])

    def test_going_on_from_files_and_arrays_is_never_having_stopped(self):
        options = {"temperature": 0.9, "repetition_penalty": 1.1, "seed": 3}
        for run in ("trained", "full"):
            model = self.model(run)
            text_file, array_file = self.folder / f"{run}.state", self.folder / f"{run}.npz"
            whole = model.text("the memory of é").generate(100, **options)
            first = model.text("the memory of é")
            begin = first.generate(50, flush=False, **options)
            first.save(text_file)
            state = first.state()
            numpy.savez(array_file, **state)
            branch = first.copy()
            first.generate(7, seed=99)  # none of the others notices
            with numpy.load(array_file) as stored:
                continued = [branch, model.open_text(text_file), model.text(state=dict(stored))]
            for going_on in continued:
                self.assertEqual(begin + going_on.generate(50, **options), whole)
            self.assertEqual(begin + self.generated("--state", text_file, "--quiet", "--max-tokens", 50, "--temperature", 0.9,
                                                    "--repetition-penalty", 1.1, "--seed", 3, run=run)[:-1], whole)
            self.assertEqual(state["logits"].size + state["unread"].size, 1)
            self.assertEqual(state["draws"], 50)
            if run == "trained":
                self.assertEqual(state["tensors/state.layers.1.matrix"].shape, (1, 2, 8, 8))
                self.assertEqual(state["tensors/state.layers.1.matrix"].dtype, numpy.float32)

    def test_a_state_of_another_model_is_refused(self):
        with self.model() as model, model.text("the") as mine:
            mine.generate(3)
            state, file = mine.state(), self.folder / "mine.state"
            mine.save(file)
        for run, what in (("other", "hash of its parameters"), ("full", "attention.kind: infini there")):
            model = self.model(run)
            for attempt in (lambda: model.text(state=state), lambda: model.open_text(file)):
                with self.assertRaisesRegex(palimpsest.InputError, what):
                    attempt()

    def test_a_state_that_is_none_is_refused(self):
        model = self.model()
        state = model.text("the memory").state()
        matrix = "tensors/state.layers.0.matrix"
        for name, values, what in (("unread", None, "has no array unread"),
                                   ("more", numpy.zeros(1), "an array more"),
                                   ("draws", numpy.zeros(2, numpy.int64), "draws is int64 of shape \\(2\\): expected one int64"),
                                   ("seen", numpy.zeros(3, numpy.uint8), "a vocabulary of 3 tokens"),
                                   ("ended", numpy.int64(7), "expected 0 or 1"),
                                   ("unread", numpy.int32([9999]), "9999 is outside the vocabulary"),
                                   ("format_version", numpy.int64(3), "version 3: expected 1 to 2"),
                                   (matrix, state[matrix][..., :4], "matrix"),
                                   (matrix, state[matrix].astype(numpy.float64), "matrix"),
                                   (matrix, state[matrix].astype(numpy.int32), "expected floating-point numbers")):
            changed = {key: value for key, value in state.items() if key != name} | ({} if values is None else {name: values})
            with self.subTest(name=name, what=what), self.assertRaisesRegex(palimpsest.InputError, what):
                model.text(state=changed)
        with self.assertRaisesRegex(palimpsest.ArgumentError, "float16"):
            model.text(state=state | {"logits": state["logits"].astype(numpy.float16)})

    def test_errors_say_what_was_wrong(self):
        for path, kind, what in ((self.folder / "missing", palimpsest.InputError, "missing: is not there"),
                                 (self.folder / "corpus", palimpsest.InputError, "there is no checkpoint"),
                                 ("a\0b", palimpsest.ArgumentError, "zero byte")):
            with self.assertRaisesRegex(kind, what) as raised:
                palimpsest.Model(path)
            self.assertEqual(raised.exception.code, {palimpsest.InputError: 3, palimpsest.ArgumentError: 2}[kind])
        with self.assertRaisesRegex(palimpsest.InputError, "no checkpoint of step 7|step 7"):
            palimpsest.Model(self.folder / "trained", step=7)
        with self.assertRaisesRegex(palimpsest.ArgumentError, "threads is -1"):
            palimpsest.Model(self.folder / "trained", threads=-1)
        model = self.model()
        kept = model.text("the memory")
        before = kept.logits()
        for tokens in ([258], [-1], [1 << 40], numpy.uint32([3, 300])):
            with self.assertRaises(palimpsest.InputError):
                kept.append_tokens(tokens)
        for tokens in ([0.5], [[1, 2]], ["a"]):
            with self.assertRaises(palimpsest.ArgumentError):
                kept.append_tokens(tokens)
        for options, what in (({"temperature": -1}, "temperature"), ({"top_p": 2}, "top-p"), ({"stop": ""}, "stop"), ({"max_tokens": -1}, "max_tokens")):
            with self.assertRaisesRegex(palimpsest.ArgumentError, what):
                kept.generate(**{"max_tokens": 3} | options)
        with self.assertRaisesRegex(TypeError, "no option heat"):
            kept.generate(3, heat=1)
        with self.assertRaisesRegex(palimpsest.OutputError, "/no/such"):
            kept.save("/no/such/file")
        with self.assertRaisesRegex(palimpsest.InputError, str(self.folder / "prompts.none")):
            model.open_text(self.folder / "prompts.none")
        numpy.testing.assert_array_equal(kept.logits(), before)

    def test_a_callback_may_fail_but_not_use_its_text(self):
        model = self.model()
        continued = model.text("the")
        with self.assertRaises(ZeroDivisionError):
            continued.generate(50, write=lambda _: 1 / 0)
        self.assertLess(sum(continued.position()), 50)
        for use in (continued.logits, continued.state, continued.close):
            with self.assertRaises(palimpsest.ArgumentError):
                continued.generate(50, write=lambda _: use())
        continued.generate(3)

    def test_handles_close_in_any_order_and_once(self):
        model = palimpsest.Model(self.folder / "trained")
        continued = model.text("the memory")
        with model:
            pass
        self.assertEqual(continued.logits().shape, (258,))
        continued.close()
        continued.close()
        for use in (continued.logits, continued.state, lambda: continued.append("x"), lambda: model.text()):
            with self.assertRaisesRegex(palimpsest.ArgumentError, "is closed"):
                use()

    def test_a_damaged_checkpoint_is_passed_over_with_a_warning(self):
        run = self.folder / "damaged"
        shutil.copytree(self.folder / "trained", run)
        newer = run / "checkpoints" / "step-00000041"
        shutil.copytree(run / "checkpoints" / "step-00000040", newer)
        (newer / "manifest.json").write_text("{}", encoding="ascii")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with palimpsest.Model(run) as model:
                self.assertEqual(model.step, 40)
        self.assertIn("step-00000041", str(caught[0].message))

    def test_threads_with_handles_of_their_own_do_not_disturb_each_other(self):
        model, results = self.model(), {}
        expected = {seed: model.text("the").generate(60, seed=seed) for seed in (1, 2)}

        def work(seed):
            try:
                for attempt in range(3):
                    with palimpsest.Model(self.folder / "trained") as own, (model if attempt else own).text("the") as continued:
                        begin = continued.generate(30, flush=False, seed=seed)
                        continued.save(self.folder / f"thread-{seed}.state")
                        again = own.open_text(self.folder / f"thread-{seed}.state")
                        results[seed, attempt] = begin + again.generate(30, seed=seed)
                    try:
                        palimpsest.Model(self.folder / f"missing-{seed}")
                    except palimpsest.InputError as error:
                        results[seed, "error"] = str(error)
            except BaseException as error:
                results[seed, "failed"] = repr(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        for seed in (1, 2):
            self.assertIn(f"missing-{seed}:", results.pop((seed, "error"), results))
            self.assertEqual([results[seed, attempt] for attempt in range(3)], [expected[seed]] * 3)
        shared = model.text("the")
        threads = [threading.Thread(target=shared.append, args=("a" * 500,)) for _ in range(8)] + [threading.Thread(target=shared.read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        self.assertEqual(sum(shared.position()), 4 + 8 * 500)


class Library(unittest.TestCase):
    def declared(self):
        return set(re.findall(r"\b(palimpsest_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.S)))

    def test_it_shows_the_functions_of_its_header_and_nothing_else(self):
        lines = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertEqual({line.split()[-1] for line in lines}, self.declared())

    def test_it_needs_no_mpi(self):
        needed = subprocess.run(["readelf", "-d", LIBRARY], check=True, capture_output=True, text=True).stdout
        self.assertIn("libhdf5", needed)
        self.assertNotIn("libmpi", needed)

    def test_a_struct_of_another_size_is_refused(self):
        library = ctypes.CDLL(str(LIBRARY))
        library.palimpsest_last_error.restype = ctypes.c_char_p
        decoding = palimpsest._Decoding(size=7)
        self.assertEqual(library.palimpsest_decoding_defaults(ctypes.byref(decoding), ctypes.c_size_t(48)), 2)
        self.assertIn(b"size of 48 bytes, expected 40", library.palimpsest_last_error())
        self.assertEqual((decoding.size, decoding.beams), (7, 0))

    def test_text_has_to_be_utf8(self):
        library = ctypes.CDLL(str(LIBRARY))
        library.palimpsest_last_error.restype = ctypes.c_char_p
        self.assertEqual(library.palimpsest_model_encode(None, b"ab\xffc", ctypes.c_size_t(4), None, ctypes.c_size_t(0), None), 3)
        self.assertEqual(library.palimpsest_last_error(), b"the text is not UTF-8: byte 255 at offset 2")

    def test_null_is_refused_everywhere(self):
        library = ctypes.CDLL(str(LIBRARY))
        library.palimpsest_last_error.restype = ctypes.c_char_p
        answers = self.declared() - {"palimpsest_version", "palimpsest_last_error", "palimpsest_generation_defaults"}
        for name in sorted(answers):
            result = getattr(library, name)(*[None] * 8)
            if name.endswith("_close"):
                continue
            if name == "palimpsest_state_new":
                self.assertEqual(result, 2)
            self.assertEqual((name, result), (name, 2))
            self.assertRegex(library.palimpsest_last_error().decode(), "is null")


class Installed(TrainedModels):
    """Into a folder that is then moved, so that nothing remembers where it was."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        first, cls.prefix = cls.folder / "first", cls.folder / "prefix"
        cls.check("cmake", "--install", BUILD, "--prefix", first)
        first.rename(cls.prefix)
        cls.libraries = next(cls.prefix.rglob("libpalimpsest.so.0")).parent

    @staticmethod
    def check(*words, **options):
        result = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT, **options)
        if result.returncode != 0:
            raise AssertionError(f"{words}\n{result.stdout}\n{result.stderr}")
        return result.stdout

    def test_headers_include_installed_headers_alone(self):
        root = self.prefix / "include" / "palimpsest"
        headers = list(root.rglob("*.h"))
        self.assertGreater(len(headers), 100)
        for header in headers:
            for name in re.findall(r'(?m)^#include "(.*)"', header.read_text(encoding="utf-8")):
                self.assertTrue((root / name).exists(), f"{header}: {name}")

    def test_the_examples_of_the_guide_do_what_it_says(self):
        guide = (SOURCE / "docs" / "library.md").read_text(encoding="utf-8")
        for name in ("CMakeLists.txt", "example.cpp", "example.c", "example.py"):
            self.assertIn(f"\n{(USER / name).read_text(encoding='utf-8')}```\n", guide, f"docs/library.md does not show {name} as it is")
        build, run, work = self.folder / "user", self.folder / "trained", self.folder / "work"
        work.mkdir()
        self.check("cmake", "-S", USER, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Debug")
        self.check("cmake", "--build", build)

        output = self.check(build / "example", run, work, env=environment())
        lines = output.splitlines()
        self.assertIn("18 tokens read", lines[0])
        continued = self.generated("--prompt", "the memory of the", "--quiet", "--temperature", 0.8, "--seed", 7, "--max-tokens", 40)
        self.assertIn(f"\n{continued}", output)
        self.assertTrue(continued.endswith(lines[lines.index("step 1: loss " + re.search(r"step 1: loss (\S+)", output)[1]) - 1] + "\n"))
        losses = [float(loss) for loss in re.findall(r"loss (\S+)", output)]
        self.assertEqual(len(losses), 10)
        self.assertLess(losses[-1], 0.8 * losses[0])
        self.run_program("generate", work / "trained", "--prompt", "the", "--max-tokens", 5)
        self.assertIn("step        50 of 50: 50 updates", self.run_program("inspect", work / "trained").stdout)

        likeliest = re.search(r"the likeliest token is \d+", output)[0]
        from_c = self.check(build / "example_c", run, work / "c.state", env=environment())
        self.assertTrue(from_c.startswith(f"{likeliest}\n{continued[:10]}"), from_c)
        self.assertIn("is not there", self.fails(3, build / "example_c", self.folder / "none", work / "c.state"))

        module = self.libraries / "palimpsest" / "python"
        variables = {name: value for name, value in environment().items() if name != "PALIMPSEST_LIBRARY"} | {"PYTHONPATH": str(module)}
        from_python = self.check(sys.executable, USER / "example.py", run, work / "state.npz", env=variables)
        self.assertTrue(from_python.startswith(f"{likeliest}\n{continued[:10]}"), from_python)
        self.assertIn("token 258 is outside the vocabulary", from_python)

    def fails(self, code, *words):
        result = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT, env=environment())
        self.assertEqual(result.returncode, code, result.stderr)
        return result.stderr

    def test_c_alone_needs_no_other_package_and_components_have_names(self):
        project = self.folder / "c-alone"
        project.mkdir()
        for components, languages, works in (("c", "C", True), ("fortran", "C", False)):
            (project / "CMakeLists.txt").write_text(
                f"cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES {languages})\n"
                f"find_package(Palimpsest 0.1 REQUIRED COMPONENTS {components})\n"
                "if(TARGET MPI::MPI_C OR TARGET hdf5::hdf5)\n  message(FATAL_ERROR \"more than was asked for\")\nendif()\n", encoding="ascii")
            words = ("cmake", "-S", project, "-B", self.folder / f"build-{components}", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}")
            result = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT)
            self.assertEqual(result.returncode == 0, works, result.stderr)
        self.assertIn("no 'fortran'", result.stderr)

    def test_the_program_is_installed(self):
        self.assertEqual(self.check(self.prefix / "bin" / "palimpsest", "--version", env=environment()),
                         subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True, env=environment()).stdout)


if __name__ == "__main__":
    unittest.main()

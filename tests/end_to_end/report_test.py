"""`palimpsest report`, looked at in a headless Chromium: what is drawn, in both themes and on a phone."""
import csv
import json
import re
import signal
import unittest

from browser import Browser
from harness import EndToEndTest

# Of every figure the runs whose lines it shows: pixels of their colour between its axes, without points and legend.
INK = """[...document.querySelectorAll("canvas")].map((canvas) => {
  const chart = Chart.getChart(canvas), {left, top, width, height} = chart.chartArea;
  for (const dataset of chart.data.datasets) dataset.pointRadius = 0;
  chart.update();
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(Math.ceil(left), Math.ceil(top), Math.floor(width), Math.floor(height)).data;
  const shows = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const wanted = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    for (let i = 0; i < pixels.length; i += 4) {
      if (pixels[i + 3] > 200 && wanted.every((value, at) => Math.abs(value - pixels[i + at]) < 16)) return true;
    }
    return false;
  };
  return {name: canvas.getAttribute("aria-label"), runs: [1, 2].filter((run) => shows("--run-" + run))};
})"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HOSTILE = "</script><b id=hostile>\u2028 & co"


def texts(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((element) => element.textContent)")


class Report(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        segments = {"model": {"segment_length": 32}, "train": {"sequence_length": 64}}  # of two ranges of positions
        test.run_program("train", test.config("linear", evaluation={"every": 4}, **segments))
        test.run_program("train", test.config("delta", optimizer={"learning_rate": "2e-2"}))
        test.run_program("eval", cls.folder / "linear")
        test.run_program("eval", cls.folder / "linear", "--memory", "none")
        cells = [{"length": length, "depth": depth, "exact_match": {"share": share, "low": 0.51, "high": 1.0},
                  "exact_match_without_memory": {"share": 0.0, "low": 0.0, "high": 0.49},
                  "samples": [{"sample": i, "tokens": 4, "right": 4, "right_without_memory": 0} for i in range(4)]}
                 for length, share in ((32768, 1.0), (1048576, 0.75)) for depth in (0.0, 0.5)]
        folder = cls.folder / "delta" / "evaluation"
        folder.mkdir()
        (folder / "passkey.json").write_text(json.dumps({"task": {"step": 8, "digits": 4}, "cells": cells}), encoding="utf-8")
        judgements, rankings = cls.folder / "qrels.txt", [cls.folder / "first.run", cls.folder / "second.run"]
        judgements.write_text("a 0 x 1\nb 0 y 1\nc 0 z 1\n", encoding="utf-8")
        for ranking, found in zip(rankings, ("xwv", "xyz")):
            ranking.write_text("".join(f"{query} Q0 {document} 1 1 t\n" for query, document in zip("abc", found)), encoding="utf-8")
        test.run_program("measure", rankings[0], judgements, rankings[1], "--json", folder / "search.json")
        for name, lines in ("references", "a whale\nthe white whale swims\n"), ("candidates", "a whale\na boat sinks\n"):
            (cls.folder / f"{name}.txt").write_text(lines, encoding="utf-8")
        test.run_program("rouge", cls.folder / "references.txt", cls.folder / "candidates.txt", "--json", folder / "summaries.json")
        (folder / "strange.json").write_text(json.dumps({HOSTILE: HOSTILE}), encoding="utf-8")
        (folder / "strange.json").rename(folder / "strange<b>.json")

    def report(self, *runs, out="report.html", arguments=()):
        page = self.folder / out
        self.run_program("report", *[self.folder / run for run in runs], "--out", page, *arguments)
        return page

    def test_is_drawn_in_both_themes_and_on_a_phone(self):
        page = self.report("linear", "delta")
        with Browser() as browser:
            for dark in False, True:
                browser.open(page, dark=dark)
                self.assertEqual(browser.evaluate("document.documentElement.dataset.theme"), "dark" if dark else "light")
                drawn = {canvas["name"]: canvas["runs"] for canvas in browser.evaluate(INK)}
                for figure in "Loss", "Perplexity", "Learning rate", "Gradient norm", "Throughput":
                    self.assertEqual(drawn[figure], [1, 2], figure)
                self.assertEqual(drawn["Loss by position in the document"], [1])
                self.assertEqual(drawn["Loss by position in the segment"], [1])
                self.assertEqual(browser.evaluate(OVERFLOW), 0)
            background = "getComputedStyle(document.body).backgroundColor"
            dark = browser.evaluate(background)
            browser.evaluate("choose = (id, value) => { const select = document.getElementById(id); select.value = value;"
                             " select.dispatchEvent(new Event('change')); }")
            browser.evaluate("choose('theme', 'light')")
            self.assertNotEqual(browser.evaluate(background), dark)

            for axis, label in ("tokens", "tokens"), ("hours", "hours of training"):
                browser.evaluate(f"choose('axis', '{axis}')")
                self.assertEqual(browser.evaluate("Chart.getChart(document.querySelector('#loss canvas')).options.scales.x.title.text"), label)
            self.assertTrue(all(canvas["runs"] for canvas in browser.evaluate(INK)))
            browser.evaluate("document.querySelector('#legend button').click()")
            self.assertEqual(next(c for c in browser.evaluate(INK) if c["name"] == "Throughput")["runs"], [2])

            browser.open(page, width=360, height=740)
            self.assertEqual(browser.evaluate(OVERFLOW), 0)
            self.assertEqual(browser.complaints, [])

    def test_shows_values_tables_and_heat_maps(self):
        page = self.report("linear", "delta")
        with Browser() as browser:
            browser.open(page)
            self.assertEqual(texts(browser, "h2"), ["Runs", "Training", "ROUGE", "Memory gates", "Evaluation", "Passkey retrieval", "Search",
                                                    "Differences of configuration"])
            self.assertEqual(texts(browser, "#legend button"), ["linear", "delta"])
            # hovering
            browser.evaluate("document.querySelector('#loss canvas').scrollIntoView()")
            browser.evaluate("""(() => {
                const canvas = document.querySelector('#loss canvas'), box = canvas.getBoundingClientRect();
                canvas.dispatchEvent(new MouseEvent('mousemove', {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true}));
            })()""")
            hovered = browser.evaluate("new Promise((done) => setTimeout(() => done("
                                       "Chart.getChart(document.querySelector('#loss canvas')).tooltip.body.map((body) => body.lines[0])), 200))")
            self.assertRegex(" ".join(hovered), r"linear: \d.*delta: \d")
            # the table behind a figure
            browser.evaluate("document.querySelector('#loss details').open = true")
            rows = browser.evaluate("new Promise((done) => setTimeout(() => done("
                                    "[...document.querySelectorAll('#loss tbody tr')].map((row) => row.textContent)), 200))")
            self.assertEqual(len(rows), 8)
            self.assertTrue(rows[7].startswith("8" + f"{self.losses('linear')[7]:.6g}"[:5]), rows[7])
            # gates, and their slider
            self.assertEqual(len(texts(browser, "#gates td")), 2 * 2 * 4)
            self.assertEqual(texts(browser, "#gates .slider span"), ["step 8", "step 8"])
            browser.evaluate("(() => { const slider = document.querySelector('#gates input'); slider.value = 0;"
                             " slider.dispatchEvent(new Event('input')); })()")
            self.assertEqual(texts(browser, "#gates .slider span"), ["step 1", "step 8"])
            self.assertEqual(texts(browser, "#gates td")[0], f"{self.metrics_gates('linear')[0][0][0]:.2f}")
            # perplexities with errors: two results of four documents
            scores = texts(browser, "#scores tbody td")
            self.assertEqual(scores[:2], ["linear", "test-step-00000008"])
            self.assertEqual(sum("±" in score for score in scores), 6)
            # passkeys and their control
            self.assertEqual(texts(browser, ".passkey h4"), ["Memory kept", "Control: memory knocked out"])
            self.assertEqual(texts(browser, ".passkey table.heat td"), ["100 %51–100 %"] * 2 + ["75 %51–100 %"] * 2 + ["0 %0–49 %"] * 4)
            colours = browser.evaluate("[...document.querySelectorAll('.passkey table.heat td')].map((cell) => cell.style.background)")
            self.assertEqual(len(set(colours)), 3)
            self.assertTrue(all(colours))
            # searches: two with intervals, and their difference
            found = texts(browser, "#searches .scroll:first-child td")
            self.assertEqual(len(found), 2 * 8)
            self.assertEqual(found[1:4:2] + [found[8 + 4]], ["search", "3", "1.0000 (1.0000 to 1.0000)"])
            self.assertRegex(found[4], r"^0\.3333 \(0\.0000 to 1\.0000\)$")
            rows = texts(browser, "#searches .scroll:last-child tbody tr")
            self.assertEqual(len(rows), 4)
            self.assertRegex(rows[0], r"^deltasearchnDCG@10\+0\.6667 \(0\.0000 to \+1\.0000\)\d\.\d+20$")
            # ROUGE of one text that is the reference, and one that has no word of it
            half = "0.5000 (0.0000 to 1.0000)"
            self.assertEqual(texts(browser, "#rouges .scroll:first-child td"), ["delta", "summaries", "2", "as they are", *[half] * 4])
            self.assertIn("(95 %)", texts(browser, "#rouges .note")[0])
            browser.evaluate("document.querySelector('#rouges details').open = true")
            rows = browser.evaluate("new Promise((done) => setTimeout(() => done("
                                    "[...document.querySelectorAll('#rouges details tbody tr')].map((row) => row.textContent)), 200))")
            self.assertEqual(rows, [f"deltasummaries{measure}{half * 3}" for measure in ("ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum")])
            differences = texts(browser, "#settings .scroll tbody td:first-child")
            self.assertIn("optimizer.learning_rate", differences)
            self.assertNotIn("model.hidden_size", differences)
            # what a file may be called is text, not markup
            self.assertIn("strange<b>.json", texts(browser, "#thinned")[0])
            self.assertEqual(browser.complaints, [])

    def metrics_gates(self, run):
        path = self.folder / run / "gates.jsonl"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8").splitlines()[0])["gates"], None
        return self.metrics(run)[0]["gates"], None

    def test_evaluations_stand_at_their_steps_and_splits_apart(self):
        def evaluation(step, split, nats):
            return {"kind": "evaluation", "step": step, "split": split, "tokens": 10, "negative_log_likelihood": 10 * nats,
                    "token_perplexity": 2 ** nats, "loss": nats, "forgetting": 0}

        # so long that it is thinned: of step 2 the page has the evaluations alone
        lines = [evaluation(0, "validation", 4), evaluation(0, "books", 5)]
        for step in range(1, 3501):
            lines.append({"kind": "step", "step": step, "tokens": 8 * step, "loss": 3, "step_seconds": 3600})
            if step == 2:
                lines += [evaluation(step, "validation", 3), evaluation(step, "books", 6)]
            if step in (2, 3000):
                lines.append({"kind": "rouge", "step": step, "split": "summaries", "pairs": 4, "tokens": 50}
                             | {f"rouge{name}": {"recall": 0.5, "precision": 0.25, "f1": step / 6000} for name in ("1", "2", "L", "Lsum")})
        for run, content in ("sets", lines), ("started", lines[1:2]):
            (self.folder / run).mkdir()
            (self.folder / run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content), encoding="utf-8")
        page = self.report("sets", "started", arguments=("--csv", self.folder / "rouge-tables"))
        with open(self.folder / "rouge-tables" / "rouge.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(row["step"], row["measure"]) for row in rows][:5], [("2", "rouge1"), ("2", "rouge2"), ("2", "rougeL"), ("2", "rougeLsum"), ("3000", "rouge1")])
        self.assertEqual((rows[4]["pairs"], rows[4]["recall"], rows[4]["f1"]), ("4", "0.5", "0.5"))
        with Browser() as browser:
            browser.open(page)
            # run, last step, tokens, trained for, loss, validation perplexity
            rows = browser.evaluate("[...document.querySelectorAll('section:first-of-type tbody tr')]"
                                    ".map((row) => [...row.children].slice(0, 6).map((cell) => cell.textContent))")
            self.assertEqual(rows, [["sets", "3,500", "28,000", "3500 h", "3", "8"], ["started", "–", "–", "–", "–", "–"]])
            self.assertNotIn(2, browser.evaluate("report.runs[0].columns.step"))
            for axis, there in ("step", 2), ("tokens", 16), ("hours", 2):
                browser.evaluate(f"choices.axis = '{axis}'; drawAll()")
                drawn = browser.evaluate("Chart.getChart(document.querySelector('#loss canvas')).data.datasets.slice(1)"
                                         ".map(({label, data}) => [label, data.map(({x, y}) => [x, y])])")
                self.assertEqual(drawn, [["sets, validation", [[0, 4], [there, 3]]], ["sets, books", [[0, 5], [there, 6]]]], axis)
            self.assertEqual(texts(browser, "h2"), ["Runs", "Training", "ROUGE"])
            self.assertEqual(texts(browser, "#rougeLsum h3"), ["ROUGE-Lsum"])
            browser.evaluate("choices.axis = 'step'; drawAll()")
            drawn = browser.evaluate("Chart.getChart(document.querySelector('#rouge2 canvas')).data.datasets.map(({label, data}) => [label, data.map(({x, y}) => [x, y])])")
            self.assertEqual(drawn, [["sets", [[2, 2 / 6000], [3000, 0.5]]]])
            self.assertEqual({canvas["name"]: canvas["runs"] for canvas in browser.evaluate(INK)}["ROUGE-1"], [1])
            self.assertEqual(browser.complaints, [])

    def test_tells_sliding_windows_from_the_model_s_own_reading(self):
        self.run_program("train", self.config("local", model={"attention": "{kind: local}"}, train={"carry_memory": "false"}))
        self.run_program("eval", self.folder / "local")
        self.run_program("eval", self.folder / "local", "--window", 16, "--stride", 8)
        page = self.report("local", arguments=("--csv", self.folder / "local-tables"))
        with Browser() as browser:
            browser.open(page)
            self.assertEqual(texts(browser, "#scores .scroll:first-child td:nth-child(4)"), ["kept", "windows of 16, stride 8"])
        with open(self.folder / "local-tables" / "evaluations.csv", encoding="utf-8", newline="") as file:
            self.assertEqual([(row["window"], row["stride"]) for row in csv.DictReader(file)], [("", ""), ("16", "8")])

    def test_same_runs_give_the_same_page(self):
        first = self.report("linear", "delta", out="first.html").read_bytes()
        self.assertEqual(first, self.report("linear", "delta", out="second.html").read_bytes())
        self.assertNotIn(b"http-equiv", first)
        self.assertIn(b"Permission is hereby granted", first)

    def test_numbers_as_csv(self):
        self.report("linear", "delta", arguments=("--csv", self.folder / "tables"))
        with open(self.folder / "tables" / "steps.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["run"] for row in rows], ["linear"] * 8 + ["delta"] * 8)
        self.assertEqual([float(row["loss"]) for row in rows], self.losses("linear") + self.losses("delta"))
        names = {file.name for file in (self.folder / "tables").iterdir()}
        self.assertEqual(names, {"steps.csv", "gates.csv", "validation.csv", "evaluations.csv", "documents.csv", "positions.csv",
                                 "rouge_results.csv", "passkey.csv", "search.csv", "configuration.csv"})

    def test_follows_a_run_to_its_end(self):
        config = self.config("followed", train={"steps": 300})
        training = self.start_program("train", config)
        self.wait_for_step("followed", 1)
        page = self.folder / "followed.html"
        self.run_program("report", self.folder / "followed", "--follow", "--every", 1, "--out", page)
        self.assertEqual(training.wait(timeout=60), 0)
        content = page.read_text(encoding="utf-8")
        self.assertNotIn('"refresh_seconds":', content)
        self.assertIn('"logged_steps":300,', content)

    def test_stops_following_when_asked(self):
        training = self.start_program("train", self.config("endless"), "--set", "train.steps=100000")
        self.wait_for_step("endless", 1)
        page = self.folder / "endless.html"
        following = self.start_program("report", self.folder / "endless", "--follow", "--every", 1, "--out", page)
        while not page.exists():
            self.assertIsNone(following.poll())
        self.assertIn('"refresh_seconds":1', page.read_text(encoding="utf-8"))
        following.send_signal(signal.SIGINT)
        output, _ = following.communicate(timeout=60)
        self.assertEqual(following.returncode, 130, output)
        training.send_signal(signal.SIGINT)
        training.communicate(timeout=60)

    def test_errors_name_what_is_wrong(self):
        def error(run, page=self.folder / "never.html"):
            return self.run_program("report", run, "--out", page, expect=3).stderr

        self.assertIn("/no/such/run: is no run directory", error("/no/such/run"))
        empty = self.folder / "empty"
        empty.mkdir()
        self.assertIn("holds neither metrics.jsonl nor results", error(empty))
        (empty / "metrics.jsonl").write_text("", encoding="utf-8")
        self.assertIn("metrics.jsonl: has no logged step yet", error(empty))
        (empty / "metrics.jsonl").write_text('{"kind":"step","step":1,"loss":2}\n{"kind":"step",\n', encoding="utf-8")
        self.assertRegex(error(empty), r"empty/metrics.jsonl:2: not JSON at byte \d+")
        page = self.report("linear", out="kept.html")
        before = page.read_bytes()
        error(empty, page)
        self.assertEqual(page.read_bytes(), before)
        self.assertFalse((self.folder / "never.html").exists())
        unwritable = self.run_program("report", self.folder / "linear", "--out", "/proc/no.html", expect=4).stderr
        self.assertTrue(re.search("/proc", unwritable), unwritable)


if __name__ == "__main__":
    unittest.main()

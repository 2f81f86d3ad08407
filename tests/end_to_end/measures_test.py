"""Measuring what lies in files: palimpsest rouge and palimpsest measure."""
import json
import unittest

from harness import EndToEndTest


class Measures(EndToEndTest):
    def write(self, name, content):
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def test_rouge(self):
        references = self.write("references.txt", "The cat sat on the mat.\npolice killed the gunman\n")
        candidates = self.write("candidates.jsonl", '{"text": "the cat was on the mat"}\n'
                                                    '{"text": "the gunman kill police"}\n')
        table = self.run_program("rouge", references, candidates, "--json", self.folder / "rouge.json").stdout
        self.assertRegex(table, r"ROUGE-1 +0\.7917 ")  # (5/6 + 3/4) / 2
        result = json.loads((self.folder / "rouge.json").read_text(encoding="utf-8"))
        self.assertEqual([round(text["rougeL"]["f1"], 4) for text in result["by_text"]], [0.8333, 0.5])
        self.assertEqual(result["texts"], 2)
        stemmed = self.run_program("rouge", references, candidates, "--stem", "--seed", 2).stdout
        self.assertRegex(stemmed, r"ROUGE-1 +0\.9167 ")  # (5/6 + 1) / 2
        whole = self.run_program("rouge", references, references, "--whole-files").stdout
        self.assertRegex(whole, r"(?s)1 text .*ROUGE-Lsum +1\.0000")
        error = self.run_program("rouge", references, candidates, "--candidate-field", "summary", expect=3).stderr
        self.assertIn('candidates.jsonl:1: there is no key "summary", but "text"', error)
        self.assertIn("--confidence", self.run_program("rouge", references, candidates, "--confidence", 2,
                                                       expect=2).stderr)

    def test_measure(self):
        run = self.write("a.run", "1 Q0 x 1 2 a\n1 Q0 y 2 1 a\n2 Q0 x 1 1 a\n2 Q0 y 2 1 a\n")
        other = self.write("b.run", "1 Q0 y 1 2 b\n1 Q0 x 2 1 b\n2 Q0 x 1 2 b\n")
        judgements = self.write("qrels.tsv", "query-id\tcorpus-id\tscore\n1\ty\t1\n2\tx\t1\n3\tx\t1\n")
        table = self.run_program("measure", run, judgements)
        # In the first query y comes second, in the second one too: at the same score, the later id is first.
        self.assertRegex(table.stdout, r"MRR +0\.5000 ")
        self.assertRegex(table.stdout, r"nDCG@10 +0\.6309 ")
        self.assertIn("lacks 1 of 3 judged queries", table.stderr)
        complete = self.run_program("measure", run, judgements, "--complete").stdout
        self.assertRegex(complete, r"3 queries .*\n(?s:.*)MRR +0\.3333 ")
        both = self.run_program("measure", run, judgements, other, "--json", self.folder / "m.json").stdout
        self.assertRegex(both, r"MRR +\+0\.5000 +\+0\.5000 to \+0\.5000 ")
        result = json.loads((self.folder / "m.json").read_text(encoding="utf-8"))
        self.assertEqual(result["by_query"][0]["runs"][1]["mrr"], 1)
        self.assertEqual(result["difference"]["mrr"]["better"], 2)
        self.assertIn("a.run:1", self.run_program("measure", judgements, run, expect=3).stderr)


if __name__ == "__main__":
    unittest.main()

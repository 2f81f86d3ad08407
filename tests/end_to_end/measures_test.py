"""Measuring what lies in files: palimpsest rouge."""
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


if __name__ == "__main__":
    unittest.main()

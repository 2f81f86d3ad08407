"""Packing on threads and ranks: the same bytes whatever their number."""
import pathlib
import unittest

from harness import EndToEndTest, text


def content(path):
    """The bytes of a token file, in shards or not."""
    path = pathlib.Path(path)
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.is_dir() else path.read_bytes()


class PackTest(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.books = cls.folder / "books"
        cls.books.mkdir()
        for index in range(120):
            (cls.books / f"{index:03}.txt").write_text(text(500 + 977 * index % 9000, f"book {index}"), encoding="utf-8")
        (cls.books / "050.txt").write_bytes(b"\xe9")

    def test_threads_and_ranks_change_no_byte(self):
        whole = self.folder / "whole.h5"
        self.run_program("pack", self.books, whole, "--threads", 1)
        for threads in (2, 5):
            again = self.folder / f"threads-{threads}.h5"
            result = self.run_program("pack", self.books, again, "--threads", threads)
            self.assertEqual(content(again), content(whole))
            self.assertRegex(result.stdout, r"(?m)^\S+ +119 .* 1 \(1 not UTF-8\)$")
        splits = self.folder / "corpus"
        one = self.run_program("pack", splits, self.folder / "one")
        two = self.run_program("pack", splits, self.folder / "two", ranks=2)
        for split in ("train", "validation", "test"):
            self.assertEqual(content(self.folder / "two" / f"{split}.h5"), content(self.folder / "one" / f"{split}.h5"))
        self.assertEqual(two.stdout, one.stdout.replace("/one/", "/two/"))
        self.assertRegex(one.stdout, r"(?m)^all +9 ")


if __name__ == "__main__":
    unittest.main()

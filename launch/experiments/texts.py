"""What the helpers of this folder's experiments share: commands, records in files, the books that records belong to, and words."""

import json
import pathlib
import re
import sys

WORD = re.compile(r"[a-z0-9]+")


def run_command(parser):
    """What the command line asks for, by the function that its command has set as `run`. Errors end with a line and status 1."""
    options = parser.parse_args()
    try:
        options.run(options)
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{parser.prog}: {f'no {error}' if isinstance(error, KeyError) else error}")


def read_text(path):
    """Whatever its line ends are, they are read as line feeds."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: byte {error.object[error.start]:#x} is no UTF-8") from None


def placed(path, *texts):
    """The objects of a file, one a line, each behind its place. They have a text under each of these keys."""
    found = False
    # No other line end counts: JSON may have the rarer ones in its texts.
    for number, line in enumerate(read_text(path).removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        place, found = f"{path}:{number}", True
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place}:{error.colno}: {error.msg}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{place}: expected an object")
        for key in texts:
            if not isinstance(record.get(key), str):
                raise ValueError(f'{place}: "{key}" is {"no text" if key in record else "missing"}, expected a text')
        yield place, record
    if not found:
        raise ValueError(f"{path}: holds no record")


def read(path, *texts):
    return [record for _, record in placed(path, *texts)]


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


def books_of(corpus):
    """The names of a folder's books by their files, links followed, as `palimpsest index` calls and finds them."""
    for path in sorted(corpus.rglob("*")):
        if path.is_symlink() and path.is_dir():
            raise ValueError(f"{path}: is a link to a folder, whose books an index would not find; expected a folder")
    books = {}
    for path in sorted(corpus.rglob("*.txt")):
        file, name = path.resolve(), str(path.relative_to(corpus).with_suffix(""))
        if len(name.split()) != 1:
            raise ValueError(f"{path}: white space in its name, {name}, which a search's judgements cannot have")
        if file in books:
            raise ValueError(f"{path}: is the same file as that of {books[file]}")
        books[file] = name
    return books


def read_pairs(path, books, *texts):
    """Records (pg_id, document: a path from the file's folder on, summary) that have these texts as well. `document` becomes
    the file, and `book` its name, of `books`."""
    pairs, ids = [], set()
    for place, pair in placed(path, "document", "summary", *texts):
        number = pair.get("pg_id")
        if not isinstance(number, (int, str)) or len(str(number).split()) != 1:
            raise ValueError(f'{place}: "pg_id" is {json.dumps(number)}, expected a number, or a text without white space, which a '
                             "search's judgements cannot have")
        pair["pg_id"] = str(number)
        if pair["pg_id"] in ids:
            raise ValueError(f"{place}: a second record of pg_id {number}")
        ids.add(pair["pg_id"])
        pair["document"] = (path.parent / pair["document"]).resolve()
        if pair["document"] not in books:
            raise ValueError(f"{place}: {pair['document']} is not {'in the corpus' if pair['document'].is_file() else 'there'}")
        pair["book"] = books[pair["document"]]
        pairs.append(pair)
    return pairs


def normal(text):
    return " ".join(WORD.findall(text.lower()))


def first_words(text, count):
    """Lines stay as they are; 0: all of it."""
    found = re.match(rf"\s*(?:\S+\s+){{{count - 1}}}\S+", text) if count else None
    return found.group() if found else text

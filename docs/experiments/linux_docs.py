#!/usr/bin/env python3
"""Makes a corpus of English text from the documentation of Linux, for `reproduce --scale medium --data OUT`.

    apt-get download linux-doc-6.1
    dpkg-deb -x linux-doc-6.1_*.deb package
    python3 docs/experiments/linux_docs.py package OUT

OUT receives train.txt, valid.txt and test.txt: one paragraph a line, words and punctuation separated by spaces, digits
one by one, and <unk> in place of all but the most frequent words of the training text. Whole documents go to one of the
three. The text has the licenses of the documentation (GPL-2.0 and others), and is not part of this repository.
"""

import argparse
import collections
import gzip
import hashlib
import pathlib
import re

TOKEN = re.compile(r"[A-Za-z_]+(?:'[a-z]+)?|[0-9]|[^\sA-Za-z_0-9]")
# A document goes to the test or to the validation text if the last byte of its hash is below these.
TEST, VALID = 7, 11


def paragraphs(text):
    """The paragraphs that are prose: with 5 words or more, most of them of letters."""
    for block in re.split(r"\n\s*\n", text):
        words = TOKEN.findall(block)
        if len(words) >= 5 and sum(word.isalpha() for word in words) > 0.6 * len(words):
            yield words


def documents(package):
    """The paragraphs of each document by the hash of its text, which orders documents and drops copies."""
    found = {}
    for path in pathlib.Path(package).glob("usr/share/doc/*/Documentation/**/*"):
        if not path.is_file() or path.suffix not in (".gz", ".rst", ".txt"):
            continue
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        found[hashlib.sha256(data).digest()] = list(paragraphs(data.decode(errors="replace")))
    return sorted(found.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("package", help="folder with the unpacked package linux-doc")
    parser.add_argument("out", type=pathlib.Path, help="folder for the three files")
    parser.add_argument("--words", type=int, default=5000, help="size of the vocabulary, <unk> included")
    arguments = parser.parse_args()
    if arguments.words < 2:
        parser.error("--words must be 2 or more: <unk> is one of them")

    parts = {"train": [], "valid": [], "test": []}
    for digest, lines in documents(arguments.package):
        part = "test" if digest[-1] < TEST else "valid" if digest[-1] < VALID else "train"
        parts[part] += lines
    if not parts["train"]:
        parser.error(f"{arguments.package} has no usr/share/doc/*/Documentation with text")

    counts = collections.Counter(word for line in parts["train"] for word in line)
    # Words of one frequency in alphabetical order, so that the text is the same everywhere.
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    kept = set(ranked[: arguments.words - 1])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part, lines in parts.items():
        text = "".join(" ".join(word if word in kept else "<unk>" for word in line) + "\n" for line in lines)
        arguments.out.joinpath(f"{part}.txt").write_text(text, encoding="utf-8")
        words = sum(map(len, lines))
        print(f"{part}.txt: {words:,} words, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}")


if __name__ == "__main__":
    main()

"""Tokenizes a text in plain Python: one pass for the vocabulary, one for the tokens.

Prints the number of tokens, the number of types, and the seconds. `cargo xtask bench corpus` runs it.
"""

import sys
import time
from array import array


def read(path):
    ids = {}
    tokens = 0
    with open(path, encoding="utf8") as text:
        for line in text:
            words = line.split() + ["<eos>"]
            tokens += len(words)
            for word in words:
                if word not in ids:
                    ids[word] = len(ids)
    stream = array("q", bytes(8 * tokens))
    place = 0
    with open(path, encoding="utf8") as text:
        for line in text:
            for word in line.split() + ["<eos>"]:
                stream[place] = ids[word]
                place += 1
    return tokens, len(ids)


started = time.perf_counter()
tokens, types = read(sys.argv[1])
print(tokens, types, time.perf_counter() - started)

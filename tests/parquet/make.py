"""Writes a corpus as Parquet tables of many layouts, as a test of this repository reads them.

    python make.py TEXTS TABLES

TEXTS holds train.txt, valid.txt and test.txt. Each folder in TABLES is one layout. A row is a line with
its line feed; a line of white space is an empty row, as in Hugging Face's Salesforce/wikitext.
"""

import pathlib
import sys

import pyarrow
import pyarrow.parquet

LAYOUTS = {
    "default": {},
    "none": {"compression": "none", "use_dictionary": False},
    "zstd": {"compression": "zstd", "row_group_size": 1000},
    "gzip": {"compression": "gzip", "data_page_version": "2.0"},
    "snappy-v2": {"data_page_version": "2.0", "row_group_size": 500},
    "plain-v2": {"data_page_version": "2.0", "use_dictionary": False, "data_page_size": 4096},
    "checksums": {"write_page_checksum": True, "write_page_index": True},
    "delta": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    "delta-length": {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
}


def write(path, rows, layout, kind, nullable):
    """Writes one table, with a second column before the text."""
    fields = [("id", pyarrow.int64()), pyarrow.field("text", kind, nullable)]
    columns = [pyarrow.array(range(len(rows))), pyarrow.array(rows, kind)]
    table = pyarrow.table(columns, pyarrow.schema(fields))
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path, **layout)


def main(texts, tables):
    """Writes all layouts."""
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        kind = [pyarrow.string(), pyarrow.large_string()][number % 2]
        # Hugging Face's folder, and the folder itself.
        folder = tables / name / ["wikitext-103-v1", "."][number % 2]
        for split, shards in [("train", 2), ("validation", 1), ("test", 1)]:
            file = texts / f"{split.replace('validation', 'valid')}.txt"
            # Not splitlines: it splits at other characters too.
            lines = file.open(encoding="utf-8", newline="\n")
            rows = [line if line.strip() else "" for line in lines]
            size = -(-len(rows) // shards)
            for shard in range(shards):
                path = folder / f"{split}-{shard:05}-of-{shards:05}.parquet"
                part = rows[shard * size : (shard + 1) * size]
                write(path, part, layout, kind, nullable=number % 3 > 0)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))

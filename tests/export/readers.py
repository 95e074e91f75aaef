"""Reads files with pyarrow, datasets and DuckDB; prints what each of them read as one JSON object.

usage: readers.py FILE-OR-FOLDER...   A folder is one that `--format hf` wrote.
"""

import glob
import json
import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()

import datasets
import duckdb
import pyarrow.json
import pyarrow.parquet

datasets.disable_progress_bars()


def is_parquet(path):
    return path.endswith(".parquet")


def with_pyarrow(path):
    table = pyarrow.parquet.read_table(path) if is_parquet(path) else pyarrow.json.read_json(path)
    return table.to_pylist()


def with_duckdb(path):
    source = f"read_parquet('{path}')" if is_parquet(path) else f"read_json('{path}', format = 'newline_delimited')"
    answer = duckdb.sql(f"SELECT * FROM {source}")
    return [dict(zip(answer.columns, row)) for row in answer.fetchall()]


def with_datasets(path):
    kind = "parquet" if is_parquet(path) else "json"
    return datasets.load_dataset(kind, data_files=path, split="train").to_list()


def folder(path):
    """The splits that the card tells, and the rows of each."""
    read = datasets.load_dataset(path)
    shards = sorted(glob.glob(path + "/data/*.parquet"))
    return {
        "datasets": {split: rows.to_list() for split, rows in read.items()},
        "duckdb": [row for shard in shards for row in with_duckdb(shard)],
    }


answers = {}
for path in sys.argv[1:]:
    if os.path.isdir(path):
        answers[path] = folder(path)
    else:
        answers[path] = {
            "pyarrow": with_pyarrow(path),
            "datasets": with_datasets(path),
            "duckdb": with_duckdb(path),
        }
json.dump(answers, sys.stdout)

"""A person's own files: csv, tsv, jsonl, json, txt and parquet, read strictly, so that what is wrong in them is named by row."""

from embexp.data.files.source import FileSource

__all__ = ["FileSource"]

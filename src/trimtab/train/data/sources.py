"""From a named source to its rows, each with the place it came from; what a row means is not decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trimtab.core.errors import MissingError, ResourceError, UsageError, did_you_mean
from trimtab.store.resolve import HUB_PREFIX
from trimtab.train.data.csv_rows import csv_records
from trimtab.train.data.json_rows import json_records, jsonl_records
from trimtab.train.data.lines import read_lines
from trimtab.train.data.rows import Problem, Record

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt")

TEXT_BLOCK_CHARACTERS = 1_000_000
"""A plain-text file is read in blocks of whole lines of about this size."""


def records_of(source: str | Path) -> Iterator[Record | Problem]:
    """Give the rows of a file or of a data set on the hub.

    Raises:
        MissingError: there is no such file.
        UsageError: the file's name ends in none of the known ways.
        ResourceError: the source needs a package that is not installed.
    """
    if str(source).startswith(HUB_PREFIX):
        return _hub_records(str(source))
    path = Path(source)
    if not path.is_file():
        raise _missing(path)
    readers = {
        ".jsonl": jsonl_records,
        ".json": json_records,
        ".csv": csv_records,
        ".parquet": _parquet_records,
        ".txt": _text_records,
    }
    packed = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    if suffix not in readers or (packed and suffix == ".parquet"):
        allowed = f"{', '.join(SUFFIXES)}, each but .parquet also with .gz, or {HUB_PREFIX}NAME"
        raise UsageError(f"--data {source}: a file of unknown kind. Allowed: {allowed}. Rename or convert it.")
    return readers[suffix](path)


def _missing(path: Path) -> MissingError:
    if path.is_dir():
        return MissingError(f"--data {path}: this is a folder. Name one file of rows in it ({', '.join(SUFFIXES)}).")
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
    rows = [name for name in beside if any(suffix in name for suffix in SUFFIXES)]
    near = did_you_mean(path.name, rows) if rows else f"Give a file of rows ({', '.join(SUFFIXES)})."
    return MissingError(f"--data {path}: no such file. {near}")


def _text_records(path: Path) -> Iterator[Record | Problem]:
    block: list[str] = []
    size, place, number = 0, "", 0
    for line in read_lines(path):
        if isinstance(line, Problem):
            yield line
            continue
        here = int(line.place.rpartition(":")[2])
        block.extend("\n" for _ in range(here - number - 1) if block)
        place, number = place or line.place, here
        block.append(line.text + ("\n" if line.ended else ""))
        size += len(line.text)
        if size >= TEXT_BLOCK_CHARACTERS:
            yield _block(block, place)
            block, size, place = [], 0, ""
    if block:
        yield _block(block, place)


def _block(block: list[str], place: str) -> Record:
    return Record(place, {"text": "".join(block)})


def _parquet_records(path: Path) -> Iterator[Record | Problem]:
    parquet, arrow = _hub_package("pyarrow.parquet", str(path)), _hub_package("pyarrow", str(path))
    try:
        file = parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield Record(f"{path}:{number}", row)
    except (arrow.ArrowException, OSError) as error:
        yield Problem(f"{path}:1", "", f"no readable Parquet file ({error}); write or copy it again")


def _hub_records(source: str) -> Iterator[Record | Problem]:
    datasets = _hub_package("datasets", source)
    name, config, split = hub_name(source)
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:
        found = f"--data {source}: the data set cannot be loaded ({error})"
        raise ResourceError(
            f"{found}. Check its name and the network, or give a file ({', '.join(SUFFIXES)})."
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Record(f"{source}:{number}", dict(row))


def hub_name(source: str) -> tuple[str, str | None, str]:
    """Take ``hf:name[/config][:split]`` apart; a name may have an owner, and the split is "train" unless said.

    >>> hub_name("hf:owner/name/english:test")
    ('owner/name', 'english', 'test')
    """
    body, _, split = source.removeprefix(HUB_PREFIX).partition(":")
    parts = body.split("/")
    if not all(parts) or len(parts) > 3:
        raise UsageError(f"--data {source}: no data set's name. Allowed: {HUB_PREFIX}OWNER/NAME[/CONFIG][:SPLIT].")
    config = parts[2] if len(parts) == 3 else None
    return "/".join(parts[:2]), config, split or "train"


def _hub_package(name: str, source: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ResourceError(
            f"--data {source}: reading it needs the package {package}, which is not installed. "
            "Install it with: pip install 'trimtab[hub]'; or convert the rows to .jsonl."
        ) from error

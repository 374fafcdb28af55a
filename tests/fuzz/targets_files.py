"""Files that people hand to the program: exports to import, maps, settings, keys, the directory of agencies."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from keys.key_file import KEY_FILE_MAX_BYTES
from keys.pem import format_pem, parse_pem
from keys.signer import Ed25519Signer
from node.config_data import config_file
from node.directory import load_directory
from node.local.importers.mapping import parse_map
from node.local.importers.rows import ImportedRow
from node.settings import SETTINGS_FILE
from node.settings_file import load_settings
from tests.edge.import_support import as_change_line, read_all, sp4n_row, write_csv, write_xlsx
from tests.fuzz.target import KIB, MIB, Target, must
from tests.protocol.log_samples import LOG

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.csv"


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Of this process; gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="simpul-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _written(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _imported(name: str, **how: Any) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        rows = read_all(_written(name, data), **how)
        for row in rows:
            must(row.line > 0, "a row without a line")
            if isinstance(row, ImportedRow):
                as_change_line(row)
        return rows

    return read


def _csv_files() -> list[bytes]:
    rows = [sp4n_row(number) for number in range(1, 4)]
    made = _folder() / "made.csv"
    return [
        write_csv(made, rows, delimiter=delimiter, encoding=encoding).read_bytes()
        for delimiter, encoding in ((",", "utf-8"), (";", "cp1252"), ("\t", "utf-8-sig"))
    ]


def _xlsx_files() -> list[bytes]:
    return [write_xlsx(_folder() / "made.xlsx", [sp4n_row(number) for number in range(1, 3)]).read_bytes()]


def _maps() -> list[bytes]:
    return [config_file(name).read_bytes() for name in ("csv-map.example.toml", "csv-map-sf311.example.toml")]


def _settings(data: bytes) -> object:
    _written(SETTINGS_FILE, data)
    return load_settings(_folder())


def _settings_files() -> list[bytes]:
    hub = b'role = "hub"\norigin = "hub.example/log"\nport = 8700\n'
    node = b'role = "node"\nagency = "33.75"\nhub_url = "https://hub.example"\nvkey = "%b"\n'
    return [hub, node % LOG.vkey().format().encode()]


@lru_cache(maxsize=1)
def _key_file() -> bytes:
    return format_pem(Ed25519Signer.generate(b"k" * 32))


def _directory(data: bytes) -> object:
    return load_directory.__wrapped__(_written("agencies.csv", data))


def _agencies() -> list[bytes]:
    lines = config_file("agencies.csv").read_bytes().splitlines(keepends=True)
    ministry = [line for line in lines if b",ministry," in line][:1]
    return [b"".join(lines[:3]), b"".join([lines[0], *ministry])]


def targets() -> Sequence[Target]:
    """All of this module."""
    return (
        Target("import-csv", _imported("import.csv"), _csv_files, None, 64 * KIB),
        Target("import-xlsx", _imported("import.xlsx"), _xlsx_files, None, 64 * KIB),
        Target(
            "import-any-table",
            _imported("import.csv", format_name="csv", map_file=config_file("csv-map.example.toml")),
            lambda: [EXAMPLE.read_bytes()],
            None,
            64 * KIB,
        ),
        Target("import-map", parse_map, _maps, None, MIB),
        Target("settings", _settings, _settings_files, None, 64 * KIB),
        Target("key-file", parse_pem, lambda: [_key_file()], None, KEY_FILE_MAX_BYTES),
        Target("agencies", _directory, _agencies, None, 256 * KIB),
    )

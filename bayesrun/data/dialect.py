"""How a text table is written: its encoding, what stands between cells, and the decimal sign. Imports nothing heavy."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bayesrun.errors import Problem, UserError, fail

SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 100
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d*),(\d+)(?:[eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Parameters
    ----------
    encoding
        Of its bytes.
    sep
        What stands between cells; `whitespace` is any run of blanks.
    comment
        What begins a comment; None when there are none.
    skip_rows
        Number of lines before the names.
    """

    encoding: str
    sep: str
    comment: str | None
    skip_rows: int


def records(path: Path, how: Dialect) -> Iterator[list[str]]:
    """Yield the records of a file, the names first; empty lines and comments are left out."""
    with path.open(encoding=how.encoding, newline="") as file:
        lines: Iterator[str] = islice(file, how.skip_rows, None)
        if how.comment:
            lines = (line.split(how.comment, 1)[0] + "\n" if how.comment in line else line for line in lines)
        if how.sep == "whitespace":
            yield from (line.split() for line in lines if line.strip())
            return
        reader = csv.reader(lines, delimiter=how.sep, skipinitialspace=True)
        yield from (record for record in reader if record and any(cell.strip() for cell in record))


def find_separator(path: Path, how: Dialect) -> str:
    """Return the separator with which the first records have the most cells, all equally many; a comma for one column.

    Raises
    ------
    UserError
        When the file is not text of the encoding.
    """
    widths = {sep: max(1, _width(path, how, sep)) for sep in SEPARATORS}
    return max(SEPARATORS, key=lambda sep: widths[sep])  # the first of equals


def separator_problems(path: Path, how: Dialect) -> list[Problem]:
    """Say what the file looks like when its names are a single cell, or its lines are of different lengths."""
    if _width(path, how, how.sep) > 1:
        return []
    if how.comment is None:
        commented = Dialect(how.encoding, how.sep, "#", how.skip_rows)
        first = next(_lines(path, how), "")
        if first.startswith("#") and max(_width(path, commented, sep) for sep in SEPARATORS) > 1:
            return [
                Problem(
                    "data.comment", f"'{path}' begins with '#': this looks like comment='#'", "set data.comment='#'"
                )
            ]
    other = max((*SEPARATORS, "whitespace"), key=lambda sep: _width(path, how, sep))
    if _width(path, how, other) > 1 and other != how.sep:
        sign = " decimal=','" if other != "," and any(_has_decimal_comma(r) for r in _sample(path, how, other)) else ""
        shown = {"\t": "'\\t'", "whitespace": "whitespace"}.get(other, f"'{other}'")
        message = f"'{path}' is no table with sep='{how.sep}': this looks like sep={shown}{sign}"
        return [Problem("data.sep", message, "set data.sep, or leave it at auto")]
    return []


def ragged(path: Path, how: Dialect) -> list[Problem]:
    """Find the first record with more cells than there are names."""
    names: list[str] = []
    wide: list[int] = []
    for number, record in enumerate(records(path, how)):
        if number == 0:
            names = record
        elif len(record) > len(names):
            wide.append(number)
    if not wide:
        return []
    all_rows = f"{len(wide)} rows have" if len(wide) > 1 else f"row {wide[0]} has"
    message = (
        f"{all_rows} more cells than there are names ({len(names)}: {', '.join(names)}); the first is row {wide[0]}"
    )
    hint = "quote a cell that holds the separator; a column of row names, as R writes it, needs a name as well"
    return [Problem("data.path", message, hint)]


def decimal_comma(columns: Sequence[tuple[str, Sequence[str]]]) -> tuple[bool, bool]:
    """Say whether text columns hold numbers with a decimal comma, and whether points group their thousands.

    Parameters
    ----------
    columns
        Name and cells of every column that is text.

    Raises
    ------
    UserError
        When a comma may be either: 1,234.
    """
    found = grouped = False
    unclear: list[Problem] = []
    for name, cells in columns:
        commas = [m for m in map(_DECIMAL_COMMA.fullmatch, cells) if m]
        if not commas or not all(_DECIMAL_COMMA.fullmatch(c) or _NUMBER.fullmatch(c) for c in cells):
            continue
        points = any(_GROUPED.fullmatch(cell) for cell in cells)
        if points or any(len(m[1]) != 3 for m in commas):
            found, grouped = True, grouped or points
        else:
            message = (
                f"'{name}' holds {commas[0][0]}, which may be {commas[0][0].replace(',', '.')} or a thousand times that"
            )
            unclear.append(Problem("data.decimal", message, "set data.decimal=',' or data.thousands=','"))
    if unclear and not found:
        raise UserError(unclear)
    return found, grouped


def wrong_encoding(path: Path, encoding: str) -> UserError:
    """Make the error of a file whose bytes are not text of the encoding, with the encoding that it looks like."""
    begin = path.open("rb").read(4)
    looks = "utf-16" if begin[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return fail("data.encoding", f"'{path}' can't be read as {name} text", f"this looks like encoding='{looks}'")


def _lines(path: Path, how: Dialect) -> Iterator[str]:
    with path.open(encoding=how.encoding, newline="") as file:
        yield from islice(file, how.skip_rows, None)


def _sample(path: Path, how: Dialect, sep: str) -> list[list[str]]:
    return list(islice(records(path, Dialect(how.encoding, sep, how.comment, how.skip_rows)), _SAMPLE))


def _width(path: Path, how: Dialect, sep: str) -> int:
    """Return the number of cells that all first records have; 0 when they differ."""
    try:
        widths = {len(record) for record in _sample(path, how, sep)}
    except csv.Error:
        return 0
    return widths.pop() if len(widths) == 1 else 0


def _has_decimal_comma(record: Sequence[str]) -> bool:
    return any(_DECIMAL_COMMA.fullmatch(cell) for cell in record)

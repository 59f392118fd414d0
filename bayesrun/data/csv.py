"""Source `csv`: a table in a text file with column names in the first line, and detection of its format."""

from __future__ import annotations

import codecs
import csv
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from pydantic import field_validator

from bayesrun.data.base import TextTableSpec
from bayesrun.data.files import (
    NumberFormat,
    asked_for,
    file_source,
    names_in_two_rows,
    note_missing_names,
    text_columns,
    two_rows_of_names,
)
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.lazy import pd

log = logging.getLogger("bayesrun")

SEPARATORS = (",", ";", "\t", "|")
_CODE = re.compile(r"0\d+")
_POINT_OR_THOUSAND = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
_READ_AGAIN = 1_000
_SHOWN_NAMES = 5
_MAX_NOTED = 500
_BLANKS = " \u00a0\u202f"
_EXCELS_LINE = re.compile(r'"?sep=(.)"?')
_FORMATS = {
    b"\x1f\x8b": ("compressed with gzip", "unpack it"),
    b"PK\x03\x04": ("an Excel workbook or a zip archive", "set data.source=excel, or unpack it"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save it as .xlsx, or as text"),
    b"PAR1": ("a Parquet file", "set data.source=parquet"),
    b"\x89HDF": ("a NetCDF or HDF5 file", "set data.source=netcdf"),
    b"CDF\x01": ("a NetCDF file", "set data.source=netcdf"),
    b"SQLite format": ("an SQLite database", "set data.source=sql"),
    b"%PDF": ("a PDF document", "export the table as text"),
    b"<!doctype": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
}
"""First bytes of files that are not text tables, with a description and advice."""
_SAMPLE = 100
_MAX_TITLES = 20
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d*),(\d+)(?:[eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+")


class CsvSpec(TextTableSpec):
    """Keys of `source: csv`.

    Parameters
    ----------
    sep
        Separator of cells: one character, `whitespace`, or `auto` (detected among `, ; tab |`).
    decimal
        Decimal separator: `.`, `,`, or `auto`.
    thousands
        Thousands separator; null for none. A space matches any space, including a non-breaking one.
    encoding
        Encoding of the file; a byte order mark is skipped.
    comment
        Character that starts a comment; null for none.
    """

    sep: str = "auto"
    decimal: str = "auto"
    thousands: str | None = None
    encoding: str = "utf-8"
    comment: str | None = None

    @field_validator("sep")
    @classmethod
    def _known_separator(cls, value: str) -> str:
        value = {"tab": "\t", "\\t": "\t", " ": "whitespace", r"\s+": "whitespace"}.get(value, value)
        if len(value) != 1 and value not in ("auto", "whitespace"):
            raise ValueError("must be one character, tab, whitespace or auto")
        return value

    @field_validator("decimal")
    @classmethod
    def _known_decimal(cls, value: str) -> str:
        if value not in (".", ",", "auto"):
            raise ValueError("must be '.', ',' or auto")
        return value

    @field_validator("thousands", "comment")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and len(value) != 1:
            raise ValueError("must be one character, or null")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError("must be an encoding that Python knows, such as utf-8, cp1252 or utf-16") from None
        return value


def read(spec: CsvSpec, path: Path) -> pd.DataFrame:
    """Read the file; empty fields and the words of `spec.missing` are missing values."""
    check(_other_format(path))
    encoding = "utf-8-sig" if spec.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else spec.encoding
    how = Dialect(encoding, spec.sep, spec.comment, spec.skipped)
    try:
        named = _EXCELS_LINE.fullmatch(next(_lines(path, how), "").strip())
        if named:
            how = replace(how.without(1), sep=named[1] if spec.sep == "auto" else spec.sep)
        if how.sep == "auto":
            how = replace(how, sep=find_separator(path, how))
        check(separator_problems(path, how))
        check(_second_names(spec, path, how))
        _note_missing_names(path, how)
        return _read(spec, path, how)
    except UnicodeError as error:
        raise wrong_encoding(path, encoding) from error
    except csv.Error as error:
        hint = "is a quote mark open that is never closed? see data.sep, data.encoding"
        raise fail("data.path", f"'{path}' can't be read as CSV: {error}", hint) from error


def _read(spec: CsvSpec, path: Path, how: Dialect) -> pd.DataFrame:
    if how.sep == spec.decimal:
        raise fail("data.sep", f"'{how.sep}' can't be both the separator and the decimal sign", "set data.sep")
    decimal = "." if spec.decimal == "auto" else spec.decimal
    frame = _table(spec, path, how, decimal, spec.thousands)
    if spec.decimal == "auto" and how.sep != ",":
        cells = [(name, [c.strip() for c in texts]) for name, texts in _texts(frame)]
        comma, grouped = decimal_comma(cells) if spec.thousands != "," else (False, False)
        if comma:
            thousands = spec.thousands or ("." if grouped else None)
            frame = _table(spec, path, how, ",", thousands)
            log.info("'%s' is read with sep=%r decimal=','%s", path.name, how.sep, " thousands='.'" if grouped else "")
            decimal = ","
    if decimal == ",":
        frame.attrs["written"] = NumberFormat(",")
        return frame
    doubtful = _note_doubtful_numbers(spec, path, how, frame)
    frame.attrs["written"] = NumberFormat(".", doubtful)
    return frame


def _note_missing_names(path: Path, how: Dialect) -> None:
    first, *rows = _sample(path, how, how.sep) or [[]]
    names = [cell.strip() for cell in first]
    shown = how.sep.join([name for name in names if name][:_SHOWN_NAMES])
    note_missing_names(f"'{path.name}'", names, rows, _is_number, shown)


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell))


def _note_doubtful_numbers(spec: CsvSpec, path: Path, how: Dialect, frame: pd.DataFrame) -> dict[str, str]:
    """Warn of ambiguous numbers: codes such as 007, and numbers such as 1.234; return the latter by column."""
    doubtful = {}
    rows = list(islice(records(path, how), 1, _READ_AGAIN))
    for place, name in enumerate(map(str, frame.columns)):
        kind = frame.iloc[:, place].dtype.kind if len(frame.columns) <= _MAX_NOTED else "O"
        cells = [row[place].strip() for row in rows if len(row) > place] if kind in "if" else []
        codes = [cell for cell in cells if _CODE.fullmatch(cell)]
        if codes:
            log.info(
                "'%s' is read as numbers: %s becomes %d. data.dtypes={%s: text} keeps leading zeros",
                name, codes[0], int(codes[0]), name,
            )  # fmt: skip
        fractions = [cell for cell in cells if "." in cell]
        is_open = bool(fractions) and spec.decimal == "auto" and spec.thousands is None
        if not is_open or not all(map(_POINT_OR_THOUSAND.fullmatch, fractions)):
            continue
        doubtful[name] = fractions[0]
        if how.sep == ";" and len(fractions) > 1:
            log.warning(
                "'%s' holds %s, which is read with a decimal point. If it is a thousand times that, set "
                "data.thousands='.'", name, fractions[0],
            )  # fmt: skip
    return doubtful


def _table(spec: CsvSpec, path: Path, how: Dialect, decimal: str, thousands: str | None) -> pd.DataFrame:
    names = [name.strip() for name in next(records(path, how), [])]
    if not names:
        raise fail("data.path", f"'{path}' is empty", "it must be a table of text with column names in the first line")
    chosen = asked_for(names, spec)
    if len(chosen) < len(names):
        check(ragged(path, how))  # pandas does not detect this when it reads only some of the columns
    texts = text_columns(spec)
    try:
        with warnings.catch_warnings():
            # pandas would only warn of a line with more fields than names, and drop the last fields
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            # read columns by position: pandas would rename one of two columns with the same name
            frame = pd.read_csv(
                path,
                sep=r"\s+" if how.sep == "whitespace" else how.sep,
                header=0,
                names=range(len(names)),
                usecols=chosen if len(chosen) < len(names) else None,
                index_col=False,
                dtype={place: str for place in chosen if names[place] in texts},
                decimal=decimal,
                thousands=thousands if thousands is None or thousands.isascii() else None,
                na_values=["", *spec.missing],
                keep_default_na=False,
                encoding=how.encoding,
                comment=how.comment,
                skiprows=sorted(how.skipped),
                skipinitialspace=True,
            )
    except UnicodeError:
        raise
    except (ValueError, pd.errors.ParserWarning) as error:
        check(ragged(path, how))
        raise _not_read(path, error) from error
    frame = pd.DataFrame({place: _settled(column, decimal, thousands) for place, column in frame.items()})
    frame.columns = pd.Index([names[place] for place in chosen])
    return frame


def _not_read(path: Path, error: Exception) -> UserError:
    open_quote = re.search(r"EOF inside string starting at row (\d+)", str(error))
    if open_quote:
        message = f"a quote mark that opens in row {open_quote[1]} of '{path}' is never closed"
        return fail("data.path", message, "close it, or write the mark twice where it is part of a text")
    hint = "it must be a table of text with column names in the first line; see data.sep, data.skip_rows"
    return fail("data.path", f"'{path}' can't be read as CSV: {error}", hint)


def _settled(column: pd.Series[Any], decimal: str, thousands: str | None) -> pd.Series[Any]:
    """Give a column one type: pandas reads a long file in chunks, and recognises only the plain space."""
    if column.dtype != object:
        return column
    cells = column.dropna().tolist()
    kinds = set(map(type, cells))
    if str in kinds and len(kinds) > 1:
        return column.where(column.isna(), column.astype(str))
    if kinds == {str} and max(map(len, cells)) > csv.field_size_limit():
        raise csv.Error(f"field larger than field limit ({csv.field_size_limit()})")
    if cells and kinds == {str} and thousands is not None and thousands in _BLANKS:
        grouped = re.compile(rf"\s*[+-]?\d{{1,3}}(?:[{_BLANKS}]\d{{3}})*(?:{re.escape(decimal)}\d+)?\s*")
        if all(map(grouped.fullmatch, cells)):
            plain = column.str.replace(f"[{_BLANKS}]", "", regex=True).str.replace(decimal, ".", regex=False)
            return plain.astype(float)
    return column


def _texts(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    columns = [(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    return [(name, column.dropna().astype(str).tolist()) for name, column in columns if column.dtype == object]


@dataclass(frozen=True)
class Dialect:
    """Format of a text table.

    Parameters
    ----------
    encoding
        Encoding of the file.
    sep
        Separator of cells; `whitespace` is any run of spaces and tabs.
    comment
        Character that starts a comment; None for none.
    skipped
        Positions (from 0) of the lines that are left out.
    """

    encoding: str
    sep: str
    comment: str | None
    skipped: frozenset[int]

    def without(self, lines: int) -> Dialect:
        """Leave out the first of the remaining lines, too."""
        remaining = (line for line in count() if line not in self.skipped)
        return replace(self, skipped=self.skipped | set(islice(remaining, lines)))

    def left(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the lines that are not left out."""
        return (line for number, line in enumerate(lines) if number not in self.skipped)


def records(path: Path, how: Dialect) -> Iterator[list[str]]:
    """Yield the records of a file, column names first; empty lines and comments are skipped."""
    with path.open(encoding=how.encoding, newline="") as file:
        lines = how.left(file)
        if how.comment:
            lines = (line.split(how.comment, 1)[0] + "\n" if how.comment in line else line for line in lines)
        if how.sep == "whitespace":
            yield from (line.split() for line in lines if line.strip())
            return
        reader = csv.reader(lines, delimiter=how.sep, skipinitialspace=True)
        yield from (record for record in reader if record and any(cell.strip() for cell in record))


def find_separator(path: Path, how: Dialect) -> str:
    """Return the separator that splits the first records into equally many cells, and the most; a comma for one column.

    Raises
    ------
    UserError
        When the file can't be decoded with the encoding.
    """
    widths = {sep: max(1, _width(path, how, sep)) for sep in SEPARATORS}
    return max(SEPARATORS, key=lambda sep: widths[sep])  # the first in case of a tie


def separator_problems(path: Path, how: Dialect) -> list[Problem]:
    """Suggest another format when the column names form a single cell or records differ in length."""
    if _width(path, how, how.sep) > 1:
        return []
    if how.comment is None:
        commented = replace(how, comment="#")
        first = next(_lines(path, how), "")
        if first.startswith("#") and max(_width(path, commented, sep) for sep in SEPARATORS) > 1:
            return [
                Problem(
                    "data.comment", f"'{path}' begins with '#': this looks like comment='#'", "set data.comment='#'"
                )
            ]
    if _is_column_of_decimal_commas(path, how):
        if how.sep != ",":
            return []
        message = f"'{path}' has one column of numbers with a decimal comma, which is not the separator"
        return [Problem("data.decimal", message, "set data.sep=';' and data.decimal=','")]
    other = max((*SEPARATORS, "whitespace"), key=lambda sep: _width(path, how, sep))
    if _width(path, how, other) > 1 and other != how.sep:
        sign = " decimal=','" if other != "," and any(_has_decimal_comma(r) for r in _sample(path, how, other)) else ""
        shown = {"\t": "'\\t'", "whitespace": "whitespace"}.get(other, f"'{other}'")
        message = f"'{path}' is not a table with sep='{how.sep}': this looks like sep={shown}{sign}"
        auto = "" if other == "whitespace" else ", or leave it at auto"
        return [Problem("data.sep", message, f"set data.sep={shown}{auto}")]
    titles = _title_lines(path, how)
    if titles:
        skipped = how.without(titles).skipped
        rows = len(skipped) if skipped == set(range(len(skipped))) else [line + 1 for line in sorted(skipped)]
        message = f"'{path}' does not begin with the names of its columns: this looks like skip_rows={rows}"
        hint = f"set data.skip_rows={rows}, or data.comment when the lines are comments"
        return [Problem("data.skip_rows", message, hint)]
    return []


def _second_names(spec: CsvSpec, path: Path, how: Dialect) -> list[Problem]:
    """Detect a second line of names or units, which would make text of every column of numbers."""
    first, *rows = [[cell.strip() for cell in record] for record in _sample(path, how, how.sep)] or [[]]
    cells = [["" if cell in spec.missing else cell for cell in row] for row in rows]
    if not two_rows_of_names(cells, _is_number):
        return []
    with path.open(encoding=how.encoding, newline="") as file:
        lines = [number for number, line in enumerate(file) if number not in how.skipped and line.strip()]
    return [names_in_two_rows(f"'{path}'", first, rows[0], [line + 1 for line in lines[:2]], how.skipped)]


def ragged(path: Path, how: Dialect) -> list[Problem]:
    """Find the first record with more cells than column names."""
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
    """Return whether text columns hold numbers with a decimal comma, and whether points separate thousands.

    Parameters
    ----------
    columns
        Names mapped to cells, of every text column.

    Raises
    ------
    UserError
        When a comma is ambiguous, as in 1,234.
    """
    found = grouped = False
    unclear: list[Problem] = []
    for name, cells in columns:
        commas = [m for m in map(_DECIMAL_COMMA.fullmatch, cells) if m]
        if not commas or not all(_DECIMAL_COMMA.fullmatch(c) or _NUMBER.fullmatch(c) for c in cells):
            continue
        points = any(_GROUPED.fullmatch(cell) for cell in cells)
        # thousands are grouped by three digits, and nobody writes 0,123 for 123
        if points or any(len(m[1]) != 3 or re.match(r"[+-]?(0\d*)?,", m[0]) for m in commas):
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
    """Create the error for a file that can't be decoded, and suggest the encoding that it seems to have."""
    begin = path.open("rb").read(4)
    looks = "utf-16" if begin[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return fail("data.encoding", f"'{path}' can't be read as {name} text", f"this looks like encoding='{looks}'")


def _other_format(path: Path) -> list[Problem]:
    """Detect another file type from the first bytes."""
    with path.open("rb") as file:
        begin = file.read(32).lstrip()
    return [
        Problem("data.path", f"'{path}' is {what}, not a text table", hint)
        for signature, (what, hint) in _FORMATS.items()
        if begin.lower().startswith(signature.lower())
    ]


def _is_column_of_decimal_commas(path: Path, how: Dialect) -> bool:
    lines = [line.strip() for line in islice(_lines(path, how), _SAMPLE) if line.strip()]
    rest = [line for line in lines[1:] if not _NUMBER.fullmatch(line)]
    return "," not in lines[0] and bool(rest) and all(map(_DECIMAL_COMMA.fullmatch, rest)) if lines else False


def _lines(path: Path, how: Dialect) -> Iterator[str]:
    with path.open(encoding=how.encoding, newline="") as file:
        yield from how.left(file)


def _title_lines(path: Path, how: Dialect) -> int:
    """Return the number of lines before a table; 0 when no table is found within the first few."""
    for lines in range(1, _MAX_TITLES + 1):
        rest = how.without(lines)
        for sep in SEPARATORS:
            titles = list(islice(_lines(path, how), lines))
            table = _sample(path, rest, sep)
            if _width(path, rest, sep) < 2 or len(table) < 2:
                continue
            # a title may hold the separator, but the line of names then has to be told from rows of numbers
            names = not any(_NUMBER.fullmatch(cell.strip()) for cell in table[0])
            if names or not any(sep in title for title in titles):
                return lines
    return 0


def _sample(path: Path, how: Dialect, sep: str) -> list[list[str]]:
    return list(islice(records(path, replace(how, sep=sep)), _SAMPLE))


def _width(path: Path, how: Dialect, sep: str) -> int:
    """Return the number of cells in each of the first records; 0 when they differ.

    The names may be one fewer, as R writes them, where row names have none.
    """
    try:
        first, *rows = _sample(path, how, sep) or [[]]
    except csv.Error:
        return 0
    widths = {len(row) for row in rows} or {len(first)}
    width = widths.pop() if len(widths) == 1 else 0
    named_rows = width == len(first) + 1 > 2 and any(_NUMBER.fullmatch(cell.strip()) for cell in rows[0])
    return width if width == len(first) or named_rows else 0


def _has_decimal_comma(record: Sequence[str]) -> bool:
    return any(_DECIMAL_COMMA.fullmatch(cell) for cell in record)


SOURCE = file_source(CsvSpec, read)

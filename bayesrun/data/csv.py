"""Source `csv`: a table in a text file with column names in its first line."""

from __future__ import annotations

import codecs
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from bayesrun.data.base import TextTableSpec
from bayesrun.data.dialect import Dialect, decimal_comma, find_separator, ragged, separator_problems, wrong_encoding
from bayesrun.data.tables import file_source, text_columns
from bayesrun.errors import check, fail

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("bayesrun")


class CsvSpec(TextTableSpec):
    """Keys of `source: csv`.

    Parameters
    ----------
    sep
        What stands between cells: one character, `whitespace`, or `auto` (found among `, ; tab |`).
    decimal
        The decimal sign: `.`, `,`, or `auto`.
    thousands
        What groups thousands; null when nothing does.
    encoding
        Of the file's bytes; a byte order mark is skipped.
    comment
        What begins a comment; null when there are none.
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
    encoding = "utf-8-sig" if spec.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else spec.encoding
    how = Dialect(encoding, spec.sep, spec.comment, spec.skip_rows)
    try:
        if spec.sep == "auto":
            how = Dialect(encoding, find_separator(path, how), spec.comment, spec.skip_rows)
        check(separator_problems(path, how))
        return _read(spec, path, how)
    except UnicodeError as error:
        raise wrong_encoding(path, encoding) from error


def _read(spec: CsvSpec, path: Path, how: Dialect) -> pd.DataFrame:
    if how.sep == spec.decimal:
        raise fail("data.sep", f"'{how.sep}' can't be both the separator and the decimal sign", "set data.sep")
    frame = _table(spec, path, how, "." if spec.decimal == "auto" else spec.decimal, spec.thousands)
    if spec.decimal == "auto" and how.sep != ",":
        cells = [(name, [c.strip() for c in texts]) for name, texts in _texts(frame)]
        comma, grouped = decimal_comma(cells) if spec.thousands != "," else (False, False)
        if comma:
            thousands = spec.thousands or ("." if grouped else None)
            frame = _table(spec, path, how, ",", thousands)
            log.info("'%s' is read with sep=%r decimal=','%s", path.name, how.sep, " thousands='.'" if grouped else "")
    return frame


def _table(spec: CsvSpec, path: Path, how: Dialect, decimal: str, thousands: str | None) -> pd.DataFrame:
    import pandas as pd

    shared: dict[str, Any] = {
        "sep": r"\s+" if how.sep == "whitespace" else how.sep,
        "encoding": how.encoding,
        "comment": how.comment,
        "skiprows": how.skip_rows,
        "skipinitialspace": True,
        "keep_default_na": False,
        "index_col": False,
    }
    try:
        # columns named twice must be seen, so names are read as a row and pandas does not number them
        names = pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False, **shared).iloc[0]
        header = pd.read_csv(path, nrows=0, **shared).columns
        texts: dict[Any, Any] = {name: str for name in header if str(name).strip() in text_columns(spec)}
        with warnings.catch_warnings():
            # a line with more fields than there are names would lose its last ones with a warning only
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            table = pd.read_csv(
                path,
                dtype=texts,
                decimal=decimal,
                thousands=thousands,
                na_values=["", *spec.missing],
                **shared,
            )
    except UnicodeError:
        raise
    except (ValueError, pd.errors.ParserWarning) as error:
        check(ragged(path, how))
        hint = "it must be a table of text with column names in the first line; see data.sep, data.skip_rows"
        raise fail("data.path", f"'{path}' can't be read as CSV: {error}", hint) from error
    frame = pd.DataFrame(table)
    frame = pd.concat([_as_one_type(frame.iloc[:, i]) for i in range(frame.shape[1])], axis=1)
    frame.columns = pd.Index([name.strip() for name in names])
    return frame


def _as_one_type(column: pd.Series[Any]) -> pd.Series[Any]:
    """Pandas reads a long file in parts: a column with text in one of them is text in all."""
    kinds = set(map(type, column.dropna().tolist())) if column.dtype == object else set()
    return column.where(column.isna(), column.astype(str)) if str in kinds and len(kinds) > 1 else column


def _texts(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    columns = [(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    return [(name, column.dropna().astype(str).tolist()) for name, column in columns if column.dtype == object]


SOURCE = file_source(CsvSpec, read)

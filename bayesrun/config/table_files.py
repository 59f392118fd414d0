"""A data file where the name of a data set is expected: `data=rows.csv`, `predict.data=~/new.parquet`.

A relative path is from the folder in which the command was started. It is made absolute at once, since a sweep's jobs
and a resumed sweep may run elsewhere. The file then stands for the section `{name: rows, source: csv, path: ...}`, all
of whose other keys have their defaults and can be set beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

SOURCE_OF = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".xlsx": "excel",
    ".json": "json",
    ".nc": "netcdf",
}
"""Source that reads a file, by the file's extension."""

KEYS = ("data", "predict.data", "effects.data")
"""Keys that choose a data set."""

ENDS = ", ".join(SOURCE_OF)
_ENDS = "|".join(end[1:] for end in SOURCE_OF)
_FILE = re.compile(rf"(?:(?<=[,(])|^)[^,()'\"{{}}\[\]]+\.(?:{_ENDS})(?=$|[,)\s])", re.IGNORECASE)
_QUOTED_FILE = re.compile(rf"(['\"])(.+\.(?:{_ENDS}))\1", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
_KEYWORDS = ("null", "true", "false", "nan", "inf")
_GROUP = "data/"


def with_absolute_files(word: str) -> str:
    """Return an override with the files that it chooses as absolute paths; other words as they are.

    Parameters
    ----------
    word
        `data=rows.csv`, or several to sweep: `data=a.csv,b.csv`.
    """
    key, equals, value = word.partition("=")
    if not equals or key.lstrip("+") not in KEYS or value.startswith("{"):
        return word
    whole = _QUOTED_FILE.fullmatch(value)
    if whole:
        return f"{key}={_absolute(whole[2])}"
    return f"{key}={_FILE.sub(lambda found: _absolute(found[0].strip()), value)}"


def _absolute(path: str) -> str:
    return quoted(str(Path(path).expanduser().absolute()))


def section_of(config_path: str) -> dict[str, str] | None:
    """Return the section of a data set that is chosen by its file, as Hydra asks for it; None for anything else.

    Parameters
    ----------
    config_path
        Group and choice, `data//folder/rows.csv`.
    """
    path = Path(config_path.removeprefix(_GROUP))
    source = SOURCE_OF.get(path.suffix.lower())
    if source is None or not config_path.startswith(_GROUP) or not path.is_absolute():
        return None
    return {"name": path.stem, "source": source, "path": str(path)}


def is_data_file(text: str) -> bool:
    """Return whether a choice is the path of a data file, and not a name."""
    return section_of(_GROUP + text) is not None


def short(word: str) -> str:
    """Return an override with a data file's name in place of its path, for the names of runs."""
    key, equals, value = word.partition("=")
    text = value.strip("'\"")
    return f"{key}{equals}{Path(text).name}" if key.lstrip("+") in KEYS and is_data_file(text) else word


def quoted(text: str) -> str:
    """Quote a text as Hydra's grammar asks for, unless it is a plain word."""
    if _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    # a backslash escapes only where it stands before a quote
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


__all__ = ["ENDS", "KEYS", "is_data_file", "quoted", "section_of", "short", "with_absolute_files"]

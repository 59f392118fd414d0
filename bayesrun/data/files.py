"""Data files: path resolution, checks without reading, and conversion of a table to a Dataset over the row dimension.

Imports no heavy packages: the source modules, which import this one, are loaded while the config is parsed.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayesrun.data.base import DataSpec, FileSpec, Source
from bayesrun.data.factors import one_type
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.lazy import pd, xr

log = logging.getLogger("bayesrun")

_BLOCK = 1 << 20
_OF_THE_SYSTEM = "/proc", "/sys"
_LISTED = 10
_FEWEST = 3
MAX_COLUMNS = 5_000
_UNIT = re.compile(r"[(\[].*[)\]]")
# names that pandas gives to unnamed columns
_NO_NAME = re.compile(r"\s*|Unnamed: \d+(?:_level_\d+)?")


@dataclass(frozen=True)
class NumberFormat:
    """Number format of a text table.

    Parameters
    ----------
    decimal
        Decimal separator.
    doubtful
        Columns whose numbers were read with a decimal point that may be a thousands separator, with an example.
    """

    decimal: str
    doubtful: Mapping[str, str] = field(default_factory=dict)


def resolve(path: str, directory: Path) -> Path:
    """Resolve a path of the config: a relative path starts from `paths.data`."""
    return directory / Path(path).expanduser()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def missing_file(path: Path, key: str, given: str) -> list[Problem]:
    """Report a missing file and suggest a similar one, or one that holds no data; empty when the file exists.

    Parameters
    ----------
    path
        Where the file should be.
    key
        Config key that names it.
    given
        The path as it is given there.
    """
    if path.is_file():
        if any(path.resolve().is_relative_to(folder) for folder in _OF_THE_SYSTEM):
            message = f"'{path}' is a system file, which may show environment variables"
            return [Problem(key, message, "name a file that holds data")]
        return []
    if path.is_dir():
        return [Problem(key, f"'{path}' is a folder", "name a file in it")]
    hint = _nearest_file(path)
    is_absolute = Path(given).expanduser().is_absolute()
    return [Problem(key, f"no file '{path}'", hint if is_absolute else f"{hint}; a relative path is from paths.data")]


def check_file(spec: FileSpec, directory: Path) -> list[Problem]:
    """Return the problems of the file of a spec: it is missing, or its digest differs.

    Parameters
    ----------
    spec
        The parsed section `data`.
    directory
        `paths.data`.
    """
    path = resolve(spec.path, directory)
    problems = missing_file(path, "data.path", spec.path)
    if problems or spec.sha256 is None:
        return problems
    return _wrong_digest(path, spec.sha256)


def _wrong_digest(path: Path, expected: str) -> list[Problem]:
    found = sha256_of(path)
    if found == expected.strip().lower():
        return []
    message = f"'{path.name}' has a different SHA-256: expected {expected}, got {found}"
    hint = "the file has changed: restore the original file, or set data.sha256 to the new digest (null = not checked)"
    return [Problem("data.sha256", message, hint)]


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder '{folder}'"
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    there = f"in '{folder}' there is: {listed or 'no file'}"
    return f"did you mean '{near[0]}'? {there}" if near else there


def file_source(
    spec: type[FileSpec], read: Callable[[Any, Path], pd.DataFrame], package: str = "", extra: str = ""
) -> Source:
    """Create the source for a file format that holds one table.

    Parameters
    ----------
    spec
        Class of the section.
    read
        `(spec, path) -> table`; its columns become variables over `spec.dim`. Raises `UserError`.
    package, extra
        Package that reads the file, and the extra of bayesrun that installs it; empty when none is needed.
    """

    def load(section: FileSpec, directory: Path) -> xr.Dataset:
        path = resolve(section.path, directory)
        frame = read(section, path)
        dataset = from_frame(frame, section, "data.path")
        return dataset.assign_attrs(origin=str(path), sha256=sha256_of(path), written=frame.attrs.get("written"))

    def check(section: FileSpec, directory: Path) -> list[Problem]:
        problems = check_file(section, directory)
        if package and importlib.util.find_spec(package) is None:
            message = f"source '{section.source}' needs the package {package}"
            problems.append(Problem("data.source", message, f"install the extra: pip install 'bayesrun[{extra}]'"))
        return problems

    return Source(spec, load, check)


def text_columns(spec: DataSpec) -> set[str]:
    """Return the columns to read as text, by their names in the file: those declared as text, and dates."""
    in_file = spec.columns if isinstance(spec.columns, dict) else {}
    declared = [name for name, kind in spec.dtypes.items() if kind == "text"]
    return {in_file.get(name, name) for name in [*declared, *spec.parse_dates]}


def asked_for(names: Sequence[str], spec: DataSpec) -> list[int]:
    """Return the positions of the columns to read: those in `data.columns`, or all if it is not set.

    Raises
    ------
    UserError
        When there are too many and `data.columns` is not set.
    """
    if len(names) <= MAX_COLUMNS:
        return list(range(len(names)))
    if spec.columns is None:
        message = f"the table has {len(names):,} columns (most allowed: {MAX_COLUMNS:,})"
        raise fail("data.columns", message, "choose those that the model needs: data.columns=[y, x]")
    wanted = {spec.dim, *(spec.columns.values() if isinstance(spec.columns, dict) else spec.columns)}
    found = [place for place, name in enumerate(names) if name in wanted]
    missing = sorted(wanted - {spec.dim} - set(names))
    check([Problem("data.columns", f"there is no column '{name}'", did_you_mean(name, names)) for name in missing])
    return found


def two_rows_of_names(rows: Sequence[Sequence[Any]], is_number: Callable[[Any], bool]) -> bool:
    """Return whether the first of the rows below the column names holds names, too, or units.

    It does if it has words in every column whose other cells are all numbers. A single such column may have a word
    for a missing value in its first row, and is taken only if that looks like a unit, such as `(cm)`.

    Parameters
    ----------
    rows
        Cells of the first rows below the names; "" where one is missing.
    is_number
        Whether a cell that is not missing holds a number.
    """
    if len(rows) < _FEWEST:
        return False
    words = []
    for first, *others in zip(*rows, strict=False):
        there = [cell for cell in others if cell != ""]
        if len(there) < _FEWEST - 1 or not all(map(is_number, there)):
            continue
        if first != "" and is_number(first):
            return False
        words.append(first)
    named = [str(word) for word in words if word != ""]
    return len(set(named)) > 1 or any(map(_UNIT.fullmatch, named))


def note_missing_names(
    where: str, names: Sequence[str], rows: Sequence[Sequence[Any]], is_number: Callable[[str], bool], shown: str
) -> None:
    """Warn that the line of column names looks like the first line of the data.

    It does if all names are numbers or one has a fraction. Whole numbers may be names, such as years, but not beside
    words that are values of their columns.

    Parameters
    ----------
    where
        The table, for the message.
    names
        The names; "" where there is none.
    rows
        Cells of the first rows below the names.
    is_number
        Whether a name is a number.
    shown
        The line of names, for the message.
    """
    there = [name for name in names if name]
    numbers = list(filter(is_number, there))
    if not numbers:
        return
    cells = dict(zip(names, zip(*rows, strict=False), strict=False))
    words = (name for name in there if name not in numbers)
    recurs = any(name in (str(cell).strip() for cell in cells.get(name, ())) for name in words)
    if len(numbers) == len(there) or recurs or any("." in name or "," in name for name in numbers):
        log.warning(
            "%s seems to have no line of column names: its first line (%s) is taken for names, and is no row of the "
            "data. Write the names above it", where, shown,
        )  # fmt: skip


def names_in_two_rows(
    where: str, first: Sequence[Any], second: Sequence[Any], lines: Sequence[int], skipped: Iterable[int]
) -> Problem:
    """Report names in two lines, and how to choose one of them.

    Parameters
    ----------
    where
        The table, for the message.
    first, second
        The names in the two lines.
    lines
        Numbers of the two lines in the file, from 1.
    skipped
        Positions (from 0) of the lines that are left out already.
    """
    own, other = ([str(name).strip() for name in names] for names in (first, second))
    shown = [", ".join([name for name in names if name][:_LISTED]) for names in (own, other)]
    message = f"{where} has names in two lines: {shown[0]}; and below them {shown[1]}"
    left_out = [line + 1 for line in sorted(skipped)]
    choices = [f"data.skip_rows={[*left_out, line]}".replace(" ", "") for line in reversed(lines)]
    usable = [
        f"{choice} for the {which} names"
        for choice, which, names, others in (
            (choices[0], "first", own, other),
            (choices[1], "second", other, own),
        )
        if not _incomplete(names, others)
    ]
    hint = f"set {', '.join(usable)}" if usable else "write each column's name into one line"
    return Problem("data.skip_rows", message, hint)


def _incomplete(names: list[str], others: list[str]) -> bool:
    """Return whether names repeat, or are left out where the other line has one."""
    named = [name for name in names if name]
    return len(set(named)) < len(named) or any(b and not a for a, b in zip(names, others, strict=False))


def from_frame(frame: pd.DataFrame, spec: DataSpec, key: str) -> xr.Dataset:
    """Convert a table to a Dataset.

    An unnamed column, such as the index that pandas writes, is left out with a message, unless `data.columns`
    selects it.

    Parameters
    ----------
    frame
        The table; its index is ignored.
    spec
        The section `data`. A column with the name of its `dim` holds the row labels.
    key
        Config key that names the table, for messages.

    Raises
    ------
    UserError
        When two columns have the same name, or there are no columns.
    """
    frame = frame.iloc[:, asked_for([str(c) for c in frame.columns], spec)]
    frame = _named(frame, spec)
    names = [str(c) for c in frame.columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise fail(key, f"column names repeat: {', '.join(repeated)}", "give each column a name of its own")
    if not names:
        raise fail(key, "the table has no columns", "it needs a first line of names, or a query that selects some")
    columns = [column for _, column in frame.items()]
    wanted = _wanted(spec) or names
    nested = [(name, _nested(of)) for name, of in zip(names, columns, strict=True) if name in wanted]
    hint = "leave it out: data.columns names the others"
    check([Problem(key, f"'{name}' holds lists or mappings: {rows}", hint) for name, rows in nested if rows])
    return xr.Dataset({name: ((spec.dim,), one_type(of)) for name, of in zip(names, columns, strict=True)})


def _wanted(spec: DataSpec) -> set[str]:
    """Return the columns that `data.columns` names, as the table calls them; empty if it does not."""
    return set(spec.columns.values() if isinstance(spec.columns, dict) else spec.columns or ())


def _nested(column: pd.Series[Any]) -> str:
    """Return where a column holds more than one value in a cell; empty if it does not."""
    if column.dtype != object:
        return ""
    rows = [
        row for row, cell in enumerate(column.tolist()) if type(cell) is not str and pd.api.types.is_list_like(cell)
    ]
    return f"rows {', '.join(map(str, rows[:_LISTED]))}{', ...' if len(rows) > _LISTED else ''}" if rows else ""


def _named(frame: pd.DataFrame, spec: DataSpec) -> pd.DataFrame:
    """Remove unnamed columns."""
    names, wanted = [str(c) for c in frame.columns], _wanted(spec)
    nameless = [i for i, name in enumerate(names) if _NO_NAME.fullmatch(name) and name not in wanted]
    if not nameless:
        return frame
    places = ", ".join(str(i + 1) for i in nameless)
    log.info("'%s': column %s has no name and is left out", spec.name, places)
    return frame.iloc[:, [i for i in range(len(names)) if i not in nameless]]

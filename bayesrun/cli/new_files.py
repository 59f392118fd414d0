"""`new model FILE.csv` and `new data FILE.csv`: YAML for a table, with comments on what was found in it.

    bayesrun new data rows.csv                     my_configs/data/rows.yaml
    bayesrun new model rows.csv response=y         this and my_configs/model/rows.yaml, a regression on the others

`--config-dir DIR` names another folder than my_configs. The files are a beginning to be edited, and run as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bayesrun.cli.schemas import header
from bayesrun.cli.schemas import write as write_schemas
from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.invocation import command
from bayesrun.lazy import pd, xr

FOLDER = Path("my_configs")
_SOURCES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".xlsx": "excel"}
_MOST_LEVELS = 8
"""Labels that a term of its own is made for; a column with more of them groups the rows."""
_MOST_TERMS = 8
_SHOWN = 5
_DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[ T].*)?")


@dataclass(frozen=True)
class Column:
    """What was found in a column.

    Parameters
    ----------
    name
        Its name.
    kind
        What its values are.
    levels
        How many different values it has.
    missing
        Rows without a value, from 1.
    words
        Its values in a few words.
    """

    name: str
    kind: str
    levels: int
    missing: tuple[int, ...]
    words: str


def new(words: Sequence[str], folder: Path | None) -> str:
    """Write the files, and return what to do with them.

    Parameters
    ----------
    words
        `model` or `data`, the table, and `response=NAME` or `formula=...` of a model.
    folder
        A config folder; None = `my_configs`.

    Raises
    ------
    UserError
        When the words or the table are wrong, or a file is there already.
    """
    options = dict(word.split("=", 1) for word in words if re.match(r"(response|formula)=", word))
    plain = [word for word in words if not re.match(r"(response|formula)=", word)]
    if len(plain) != 2 or plain[0] not in ("model", "data"):
        raise fail("new", f"takes what to write and a table (got {' '.join(plain)!r})", "bayesrun new model FILE.csv")
    kind, table = plain[0], Path(plain[1]).absolute()
    folder = folder or FOLDER
    name = re.sub(r"\W+", "_", table.stem).strip("_") or "table"
    data_file, model_file = folder / "data" / f"{name}.yaml", folder / "model" / f"{name}.yaml"
    targets = [data_file, model_file] if kind == "model" else [data_file]
    there = [path for path in targets if path.exists()]
    hint = "remove it, or name another folder: --config-dir DIR"
    check([Problem("new", f"'{path}' is there already", hint) for path in there])
    section, data = _read(name, table)
    columns = [_column(data[column]) for column in map(str, data.data_vars)]
    if not columns:
        raise fail("new", f"'{table}' has no columns beside the labels of its rows")
    formula = _formula(columns, data.sizes[data.attrs["dim"]], options) if kind == "model" else None
    files = {data_file: _data_yaml(section, columns, data, table, formula)}
    if formula is not None:
        files[model_file] = _model_yaml(name, formula, columns, folder)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    schemas = write_schemas(folder)[0].parent
    written = "".join(f"wrote {path}\n" for path in files) + f"wrote {schemas}: keys and values, for editors\n"
    chosen = [f"model={name}"] if kind == "model" else ["model=MODEL", f"data={name}"]
    return f"{written}run it: {command('--config-dir', str(folder), *chosen)}"


def _read(name: str, table: Path) -> tuple[dict[str, Any], xr.Dataset]:
    """Read the table; return its section `data`, with the columns that hold dates, and its columns."""
    source = _SOURCES.get(table.suffix.lower(), "csv")
    section: dict[str, Any] = {"name": name, "source": source, "path": str(table)}
    data = _loaded(section)
    dates = [str(column) for column in data.data_vars if _may_be_dates(data[column].values)]
    for column in dates:
        tried = {**section, "parse_dates": [*section.get("parse_dates", []), column]}
        try:
            data, section = _loaded(tried), tried
        except UserError:  # text that looks like dates
            continue
    return section, data


def _loaded(section: dict[str, Any]) -> xr.Dataset:
    problems: list[Problem] = []
    spec = parse_data(section, Path(), problems)
    check(problems)
    assert spec is not None
    return load(spec, Path())


def _may_be_dates(values: Any) -> bool:
    there = [value for value in values if isinstance(value, str)] if values.dtype == object else []
    return bool(there) and all(_DATE.fullmatch(value) for value in there)


def _column(values: xr.DataArray) -> Column:
    found = pd.Series(values.values)
    missing = tuple(int(row) + 1 for row in np.flatnonzero(found.isna()))
    there, levels = found.dropna(), int(found.nunique())
    name = str(values.name)
    if not len(there):
        return Column(name, "empty", 0, missing, "no values")
    if found.dtype.kind == "M":
        return Column(name, "date", levels, missing, f"dates, {there.min():%Y-%m-%d} to {there.max():%Y-%m-%d}")
    if found.dtype.kind not in "biuf":
        counts = there.astype(str).value_counts()
        shown = ", ".join(f"{label} ({n})" for label, n in counts.head(_SHOWN).items())
        more = f", and {levels - _SHOWN:,} more" if levels > _SHOWN else ""
        return Column(name, "label", levels, missing, f"{levels:,} labels: {shown}{more}")
    numbers = there.astype(float)
    span = f"{numbers.min():.6g} to {numbers.max():.6g}"
    if levels == 1:
        return Column(name, "constant", 1, missing, f"always {numbers.iloc[0]:.6g}")
    if not (numbers == numbers.round()).all():
        return Column(name, "number", levels, missing, f"numbers, {span}")
    if set(numbers.unique()) == {0.0, 1.0}:
        return Column(name, "binary", 2, missing, f"0 or 1 ({int(numbers.sum()):,} ones)")
    if levels == len(found) and numbers.max() - numbers.min() == len(found) - 1:
        return Column(name, "number of the row", levels, missing, f"numbers of the rows, {span}")
    kind = "count" if numbers.min() >= 0 else "number"
    return Column(name, kind, levels, missing, f"whole numbers, {span}")


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class _Formula:
    text: str
    family: str
    used: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def _formula(columns: Sequence[Column], rows: int, options: dict[str, str]) -> _Formula:
    if "formula" in options:
        used = tuple(column.name for column in columns if _is_named(column.name, options["formula"]))
        response = next((c for c in columns if _is_named(c.name, options["formula"].partition("~")[0])), None)
        return _Formula(options["formula"], _family(response) if response else "normal", used, ())
    response = _response(columns, options.get("response"))
    terms, left_out = list[str](), list[tuple[str, str]]()
    names = [response.name]
    for column in columns:
        if column.name == response.name:
            continue
        why = _why_not(column, rows, len(terms))
        if why:
            left_out.append((column.name, why))
        else:
            grouped = column.kind == "label" and column.levels > _MOST_LEVELS
            terms.append(f"(1 | {_quoted(column.name)})" if grouped else _quoted(column.name))
            names.append(column.name)
    text = f"{_quoted(response.name)} ~ {' + '.join(terms) or '1'}"
    return _Formula(text, _family(response), tuple(names), tuple(left_out))


def _is_named(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w`]){re.escape(name)}(?![\w])|`{re.escape(name)}`", text) is not None


def _response(columns: Sequence[Column], given: str | None) -> Column:
    """Return the response: the one that was named, a column called y, or the first column of numbers."""
    by_name = {column.name: column for column in columns}
    if given is not None:
        if given not in by_name:
            raise fail("response", f"there is no column '{given}'", did_you_mean(given, by_name))
        return by_name[given]
    called_y = next((by_name[name] for name in ("y", "Y") if name in by_name), None)
    found = called_y or next((c for c in columns if c.kind in ("number", "count", "binary")), None)
    if found is None:
        raise fail("response", "the table has no column of numbers", "name the response: response=NAME")
    return found


def _family(response: Column) -> str:
    if response.kind == "label":
        return "categorical"
    return {"binary": "bernoulli", "count": "negative_binomial"}.get(response.kind, "normal")


def _why_not(column: Column, rows: int, terms: int) -> str:
    """Return why a column is not a term of the formula; empty if it is one."""
    if column.kind in ("empty", "constant", "date", "number of the row"):
        return {"empty": "has no values", "constant": "is constant", "date": "is a date"}.get(column.kind, column.kind)
    if len(column.missing) * 2 > rows:
        return "is missing in most rows"
    if column.kind == "label" and column.levels == 1:
        return "has one label"
    if column.kind == "label" and column.levels > max(_MOST_LEVELS, rows // 3):
        return "has a label for nearly each row"
    return f"the formula has {_MOST_TERMS} terms already" if terms >= _MOST_TERMS else ""


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f"`{name}`"


# ---------------------------------------------------------------- the files


def _data_yaml(
    section: dict[str, Any], columns: Sequence[Column], data: xr.Dataset, table: Path, formula: _Formula | None
) -> str:
    rows = data.sizes[data.attrs["dim"]]
    incomplete = [c for c in columns if c.missing and formula is not None and c.name in formula.used]
    if incomplete:  # the other columns are left out, so that their missing values drop no row
        dates = [name for name in section.get("parse_dates", []) if formula and name in formula.used]
        section = {key: value for key, value in section.items() if key != "parse_dates"}
        section |= {"parse_dates": dates} if dates else {}
    lines = [
        header("data"),
        f"# {rows:,} rows of {table.name}",
        *_yaml(section),
        f"sha256: {data.attrs['sha256']}   # null = not checked",
    ]
    lines += ["columns: null   # all of them; or names to keep, [y, x]", "# found:"]
    space = max(len(column.name) for column in columns)
    for column in columns:
        missing = (
            f"; missing in {len(column.missing):,} of {rows:,}: row {_some(column.missing)}" if column.missing else ""
        )
        lines.append(f"#   {column.name.ljust(space)}  {column.words}{missing}")
    if incomplete:
        named = ", ".join(column.name for column in incomplete)
        lines += [
            f"drop_missing: rows   # rows with missing values ({named}) are left out; "
            "null = missing predictors are an error",
            *_flow_line("columns", list(formula.used) if formula else []),
        ]
        lines = [line for line in lines if not line.startswith("columns: null")]
    else:
        lines.append("drop_missing: null   # missing predictors are an error, missing responses are imputed; or rows")
    return "\n".join([*lines, ""])


def _yaml(section: dict[str, Any]) -> list[str]:
    return [line for key, value in section.items() for line in _flow_line(key, value)]


def _flow_line(key: str, value: Any) -> list[str]:
    style = None if isinstance(value, list) else False
    text = yaml.safe_dump({key: value}, allow_unicode=True, default_flow_style=style, width=1000)
    return text.strip().splitlines()


def _some(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")


def _model_yaml(name: str, formula: _Formula, columns: Sequence[Column], folder: Path) -> str:
    space = max(len(column.name) for column in columns)
    left = [f"#   {column.ljust(space)}  {why}" for column, why in formula.left_out]
    return "\n".join(
        [
            header("model"),
            f"# A regression for {name}, to begin with.",
            f"#   {command('--config-dir', str(folder), f'model={name}')}",
            "defaults:",
            f"  - /data@_global_.data: {name}",
            "  - _self_",
            f"name: {name}",
            "type: regression",
            *_yaml({"formula": formula.text}),
            *(["# not in the formula:", *left] if left else []),
            f"family: {formula.family}   # `{command('list', 'families')}`",
            "priors: null   # defaults on the scale of the data; by term, {x: {dist: Normal, mu: 0, sigma: 1}}",
            "",
        ]
    )

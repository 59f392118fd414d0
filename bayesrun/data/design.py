"""The fitted design of the data: what is learned from the fitted rows, as a value that can be applied to other rows.

From its rows, a fit learns the labels of factors and their codes, whether a column holds text or numbers, date formats,
and the reductions inside `derive` (the mean in `x - mean(x)`). Nothing is learned from new rows, even a single one:
they are transformed as in the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bayesrun.data.arrays import Array, places, shown_values
from bayesrun.data.base import ColumnKind, DataSpec
from bayesrun.data.columns import label
from bayesrun.data.dates import DateFormat
from bayesrun.data.factors import add_factors, apply_levels, as_levels, by_column, codes_of, value_key
from bayesrun.errors import Problem, UserError, check, did_you_mean
from bayesrun.language.expressions import evaluate
from bayesrun.language.grammar import parse
from bayesrun.language.learned import Learned, LearnedValue
from bayesrun.lazy import pd, xr

Kind = Literal["text", "number", "date", "truth"]

KEY = "predict.data"


@dataclass(frozen=True)
class FittedDesign:
    """What is learned about the data from the fitted rows.

    Parameters
    ----------
    dim
        The row dimension.
    columns
        New names mapped to columns in the file, where the fit renames.
    kinds
        Kind of each column before `derive`: text, number, date or boolean.
    dates
        Date formats by column.
    factors
        Names of codes mapped to columns of labels.
    levels
        Columns mapped to their labels in the order of the codes, for factors and the columns in `data.levels`.
    derive
        Name to expression.
    constants
        Reductions over the rows inside `derive`, by the text of the subexpression.
    fixed
        Variables that are not over the rows; they are the same for new rows.
    decimal
        Decimal separator of a text table; None for other sources.
    missing
        Words for missing values in a text table.
    """

    dim: str
    columns: Mapping[str, str]
    kinds: Mapping[str, Kind]
    dates: Mapping[str, DateFormat]
    factors: Mapping[str, str]
    levels: Mapping[str, Array]
    derive: Mapping[str, str]
    constants: Mapping[str, LearnedValue]
    fixed: xr.Dataset = field(repr=False)
    decimal: str | None = None
    missing: tuple[str, ...] = ()

    def completed(self, spec: DataSpec) -> DataSpec:
        """Complete the section of new rows with the row dimension, text columns and missing words of the fit."""
        texts: dict[str, ColumnKind] = {name: "text" for name, kind in self.kinds.items() if kind == "text"}
        dims = getattr(spec, "dims", {})
        renamed = {n: [self.dim if d == spec.dim else d for d in of] for n, of in dims.items()}
        columns = {"columns": dict(self.columns)} if spec.columns is None and self.columns else {}
        reading = {
            "dim": self.dim,
            "dtypes": {**texts, **spec.dtypes},
            "parse_dates": list(dict.fromkeys([*self.dates, *spec.parse_dates])),
            **({"dims": renamed} if dims else {}),
            **({"missing": list(dict.fromkeys([*spec.missing, *self.missing]))} if hasattr(spec, "missing") else {}),
            **columns,
        }
        return spec.model_copy(update=reading)

    def columns_in(self, raw: xr.Dataset, spec: DataSpec) -> Any:
        """Return `data.columns` for new rows: their own, or else the renaming of the fit for existing columns."""
        if not self.columns or spec.columns != dict(self.columns):
            return spec.columns
        there = {new: old for new, old in self.columns.items() if old in raw.variables}
        own = [str(name) for name in raw.variables if str(name) not in there.values() and str(name) not in there]
        return {**there, **{name: name for name in own}}

    def types_in(self, data: xr.Dataset, spec: DataSpec) -> dict[str, ColumnKind]:
        """Return the declared types of the existing columns."""
        return {name: kind for name, kind in spec.dtypes.items() if name in data.variables}

    def dates_in(self, data: xr.Dataset, spec: DataSpec) -> list[str]:
        """Return the date columns of new rows: those of the fit, and those in their own section."""
        return [name for name in spec.parse_dates if name in data.variables or name not in self.dates]

    def made_alike(self, table: xr.Dataset, spec: DataSpec) -> xr.Dataset:
        """Create the columns of the fit from other columns of the new rows, as specified by their own section.

        Labels of a factor may be in a column of another name, and `derive` may create a column that the fit has read.
        An expression of the fit can't be changed.

        Raises
        ------
        UserError
            When an expression differs from that of the fit, or contains a reduction over the new rows.
        """
        for name, column in spec.factors.items():
            wanted = self.factors.get(name, column)
            if column in table.data_vars and wanted not in table.variables:
                table = table.rename({column: wanted})
        own = {name: text for name, text in spec.derive.items() if name not in self.derive}
        problems = [
            Problem(f"{KEY}.derive.{name}", f"differs from that of the fit: {self.derive[name]}", "leave it out")
            for name, text in spec.derive.items()
            if name not in own and text.split() != self.derive[name].split()
        ]
        learned = Learned(self.dim)
        made = derive(table, own, {}, learned)
        message = f"is computed from the new rows as a whole: {', '.join(learned.constants)}"
        if learned.constants:
            problems.append(Problem(f"{KEY}.derive", message, "new rows must not depend on each other: use numbers"))
        check(problems)
        return made

    def apply(self, table: xr.Dataset, new_levels: bool = False, needed: Collection[str] | None = None) -> xr.Dataset:
        """Transform the rows of a table as in the fit.

        Parameters
        ----------
        table
            Renamed, typed columns over the row dimension; dates are parsed.
        new_levels
            Whether labels that do not occur in the fit get new codes after all others.
        needed
            Columns and codes that the model reads; null means all. Whatever the others hold is no problem: in rows that
            are yet to be predicted, the response may be `?`.

        Returns
        -------
        xarray.Dataset
            The transformed rows: codes, derived variables, and the variables that are not over the rows.

        Raises
        ------
        UserError
            For labels that do not occur in the fit and cells of another type; all are reported, with their rows.
        """
        problems: list[Problem] = []
        ignored: list[Problem] = []
        read = self.reads(needed)
        for name in [str(n) for n in table.data_vars if n in self.kinds and n not in self.factors.values()]:
            table = table.assign({name: self._typed(table[name], problems if read(name) else ignored)})
        seen = [column for column in self.levels if column in table.variables and column not in table.dims]
        levels = {
            **self.levels,
            **{c: self._labels(table[c], new_levels, problems if read(c) else ignored) for c in seen},
        }
        check(problems)
        ordered = {c: levels[c].tolist() for c in seen if c not in self.factors.values() and read(c)}
        factors = {name: column for name, column in self.factors.items() if column in table.variables}
        coded = add_factors(apply_levels(table, ordered, {}), factors, levels)
        columns = {c: table[c] for c in factors.values()}
        data = derive(coded, self._derivable(table), columns, Learned(self.dim, self.constants))
        data = data.assign_coords({c: levels[c] for c in self.factors.values() if c not in data.coords})
        shared = {n: self._shared(str(n), v, data, problems) for n, v in self.fixed.variables.items()}
        check(problems)
        return data.assign({str(n): v for n, v in shared.items() if v is not None})

    def with_truth(self, data: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
        """Return rows without missing values whose columns of true and false are such, as in the fit.

        A column with missing values holds 0, 1 and NaN until their rows are dropped.
        """
        numbers = [name for name in names if self.kinds.get(name) == "truth" and data[name].dtype.kind == "f"]
        return data.assign({name: data[name] == 1 for name in numbers if not data[name].isnull().any()})

    def _shared(self, name: str, variable: Any, data: xr.Dataset, problems: list[Problem]) -> Any:
        """Return the variables shared with the fit; values of new groups are taken from a column of the new rows."""
        if name in data.sizes:  # labels of a dim, to which new labels have been added
            return None if name in data.variables else variable
        grown = [d for d in map(str, variable.dims) if d in data.sizes and data.sizes[d] > self.fixed.sizes[d]]
        if not grown:
            return variable if name not in data.variables or self.dim in data[name].dims else None
        dim, known = grown[0], self.fixed.sizes[grown[0]]
        new = data[dim].values[known:]
        codes = [str(n) for n in self.factors if self.factors[n] == dim]
        if name in data.variables and data[name].dims == (self.dim,) and variable.dims == (dim,) and codes:
            cells, of = data[name].values, data[codes[0]].values
            values = [pd.unique(cells[of == known + place]) for place in range(len(new))]
            if all(len(found) == 1 and not pd.isna(found[0]) for found in values):
                return xr.Variable((dim,), np.concatenate([variable.values, *values]))
        shown = ", ".join(map(str, new))
        message = f"'{name}' has one value per '{dim}', and none for what is new: {shown}"
        problems.append(Problem(f"{KEY}.{name}", message, f"give the new rows a column '{name}'"))
        return None

    def plain(self) -> dict[str, Any]:
        """Return the design as plain values (numbers, text, lists, mappings) that can be stored as JSON."""
        return {
            "dim": self.dim,
            "decimal": self.decimal,
            "missing": list(self.missing),
            "columns": dict(self.columns),
            "kinds": dict(self.kinds),
            "dates": {name: {"format": how.format, "day_first": how.day_first} for name, how in self.dates.items()},
            "factors": dict(self.factors),
            "levels": {name: _plain(labels) for name, labels in self.levels.items()},
            "derive": dict(self.derive),
            "constants": {text: constant.plain() for text, constant in self.constants.items()},
            "fixed": {str(n): {"dims": list(v.dims), **_plain(v.values)} for n, v in self.fixed.variables.items()},
        }

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> FittedDesign:
        """Rebuild a design from the result of `plain`."""
        fixed = {name: (tuple(of["dims"]), _array(of)) for name, of in content["fixed"].items()}
        return cls(
            dim=content["dim"],
            columns=content["columns"],
            kinds=content["kinds"],
            dates={name: DateFormat(**how) for name, how in content["dates"].items()},
            factors=content["factors"],
            levels={name: _array(labels) for name, labels in content["levels"].items()},
            derive=content["derive"],
            constants={text: LearnedValue.from_plain(of) for text, of in content["constants"].items()},
            fixed=xr.Dataset(fixed),
            decimal=content.get("decimal"),
            missing=tuple(content.get("missing", ())),
        )

    def reads(self, needed: Collection[str] | None) -> Callable[[str], bool]:
        """Return whether the model reads a column, itself, by the codes of its factor, or in `derive`."""
        if needed is None:
            return lambda name: True
        names = {*needed, *(self.factors[code] for code in self.factors if code in needed)}
        for made, text in reversed(list(self.derive.items())):
            if made in names:
                names |= parse(text, f"data.derive.{made}").names
        return lambda name: name in names

    def _typed(self, column: xr.DataArray, problems: list[Problem]) -> xr.DataArray:
        """Convert a column of new rows to its type in the fit."""
        kind, values = self.kinds[str(column.name)], column.values
        if kind == _kind(values) or bool(pd.isna(values).all()):
            return column
        missing = pd.isna(values)
        if kind == "text":
            texts = np.full(values.shape, None, dtype=object)
            texts[~missing] = [value_key(v) for v in values[~missing]]
            return column.copy(data=texts)
        numbers = np.asarray(pd.to_numeric(pd.Series(values.ravel(), dtype=object), errors="coerce"), dtype=float)
        odd = np.isnan(numbers).reshape(values.shape) & ~missing
        if kind == "truth" and not odd.any():
            odd = ~missing & ~np.isin(numbers, (0, 1)).reshape(values.shape)
            if not odd.any() and not missing.any():
                return column.copy(data=numbers.reshape(values.shape) == 1)
        if kind == "date" or values.dtype.kind == "M" or odd.any():
            what = {"number": "numbers", "date": "dates", "truth": "true or false"}[kind]
            got = shown_values(column, column.copy(data=odd if odd.any() else ~missing))
            message = f"'{column.name}' must be {what} as in the fit (got {got})"
            problems.append(Problem(f"{KEY}.columns", message, "fix the cells"))
            return column
        return column.copy(data=numbers.reshape(values.shape))

    def _labels(self, column: xr.DataArray, new_levels: bool, problems: list[Problem]) -> Array:
        """Return the labels of the fit, followed by the new labels if these are allowed."""
        known = self.levels[str(column.name)]
        _, unseen = codes_of(column.values, known)
        if not unseen.any():
            return known
        found = pd.unique(column.values[unseen])
        if new_levels:
            return as_levels([*known.tolist(), *found.tolist()])
        for new in found:
            where = places(column.copy(data=unseen & (column.values == new)))
            message = f"the model was not fitted to '{new}' of '{column.name}' ({where})"
            hint = did_you_mean(value_key(new), map(value_key, known))
            if column.name in self.factors.values():
                hint += "; predict.new_levels=population draws the effects of new groups"
            problems.append(Problem(f"{KEY}.{column.name}", message, hint))
        return known

    def _derivable(self, table: xr.Dataset) -> dict[str, str]:
        """Return the expressions whose variables exist in the new rows; existing columns are not recomputed."""
        return {name: text for name, text in self.derive.items() if name not in table.variables}


def learn(table: xr.Dataset, spec: DataSpec, dates: Mapping[str, DateFormat]) -> tuple[xr.Dataset, FittedDesign]:
    """Learn a design from the rows of a fit, and apply it to them.

    Parameters
    ----------
    table
        Renamed, typed columns; dates are parsed, each dim has labels, and `data.levels` is applied.
    spec
        The section `data`.
    dates
        Date formats by column.

    Raises
    ------
    UserError
        For invalid factors and expressions that can't be computed; all problems are reported.
    """
    kinds = {str(n): _kind(v.values) for n, v in table.variables.items() if spec.dim in v.dims}
    levels = {c: as_levels(labels) for c, labels in by_column(spec.levels, spec.factors).items()}
    coded = add_factors(table, spec.factors, levels)
    levels.update({column: coded[column].values for column in spec.factors.values()})
    learned = Learned(spec.dim)
    data = derive(coded, spec.derive, {c: table[c] for c in spec.factors.values()}, learned)
    fixed = data.drop_vars([n for n, v in data.variables.items() if spec.dim in v.dims])
    columns = spec.columns if isinstance(spec.columns, dict) else {}
    design = FittedDesign(spec.dim, columns, kinds, dates, spec.factors, levels, spec.derive, learned.constants, fixed)
    return data, design


def derive(
    data: xr.Dataset, expressions: Mapping[str, str], columns: Mapping[str, xr.DataArray], learned: Learned
) -> xr.Dataset:
    """Add derived variables in order; after a failure, the others are still computed.

    Parameters
    ----------
    data
        Variables, codes and labels.
    expressions
        Names mapped to expressions.
    columns
        Columns of labels over the rows; in `data`, their names refer to the dims of their labels.
    learned
        Values of reductions over the rows: computed from these rows, or taken from the fit.

    Raises
    ------
    UserError
        For names that are already in use and expressions that can't be computed.
    """
    problems: list[Problem] = []
    for name, text in expressions.items():
        key = f"data.derive.{name}"
        if name in data.variables or name in data.dims:
            problems.append(Problem(key, f"the name '{name}' is taken by a column or a dim", "give it a new name"))
            continue
        try:
            made = evaluate(text, data, key, columns, learned)
        except UserError as error:
            problems += error.problems
        else:
            data = label(data.assign({name: (made.dims, made.values)}))
    check(problems)
    return data


def _kind(values: Array) -> Kind:
    kinds: dict[str, Kind] = {"M": "date", "b": "truth", "O": "text", "U": "text"}
    return kinds.get(values.dtype.kind, "number")


def _plain(values: Array) -> dict[str, Any]:
    """Return an array as lists that can be stored as JSON: dates as text, non-finite values as null or text."""
    return {"kind": _kind(values), "values": _listed(values)}


def _listed(values: Array) -> Any:
    if values.dtype.kind == "M":
        return np.datetime_as_string(values).tolist()
    if values.dtype.kind != "f" or bool(np.isfinite(values).all()):
        return values.tolist()
    return np.where(np.isfinite(values), values.astype(object), values.astype(str)).tolist()


def _array(content: Mapping[str, Any]) -> Array:
    if content["kind"] == "date":
        return np.array(content["values"], dtype="datetime64[ns]")
    if content["kind"] == "text":
        return np.array(content["values"], dtype=object)
    if content["kind"] == "truth":
        return np.array(content["values"], dtype=bool)
    array = np.array(content["values"])
    return array if array.dtype.kind in "iuf" else array.astype(float)

"""Definition of a data source, and the config section that all sources share.

A source reads raw named variables; everything after that (renaming, dates, factors, derived variables, missing values)
is the same for all of them and lives in `prepare`. The result is an `xarray.Dataset` with provenance in its `attrs`:
`name`, `source`, `origin` (path or description), `rows`, `sha256`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from bayesrun.errors import Problem
from bayesrun.lazy import xr
from bayesrun.registry import Registry
from bayesrun.schema import Section

MissingRule = Literal["rows", "error", "impute"]
ColumnKind = Literal["text", "number"]
Label = str | int | float | bool
RoleKind = Literal["observed", "predictor"]
Domain = Literal["real", "positive", "nonnegative", "count", "binary", "unit", "index", "number_or_date", "any"]


class DataSpec(Section):
    """Keys of `data` that every source has; the spec of each source extends this class.

    Parameters
    ----------
    name
        Label of the data set, for tags and the report.
    source
        Registered name of the source.
    dim
        Name of the row dimension; a column of that name gives the labels of the rows.
    columns
        Names to keep, or `{name: column in the file}`; null = all.
    dtypes
        Columns to read as `text` or `number`, whatever they hold.
    parse_dates
        Columns to parse as dates.
    date_format
        How dates are written, `%d/%m/%Y`, or by column; null = found.
    factors
        Labels that become codes, `{code: column}`.
    levels
        Labels in their order, `{column: [low, high]}`; null = sorted.
    derive
        New variables, `{name: expression}`, in order.
    drop_missing
        What happens to rows with missing values: `rows`, `error`, `impute`, or one of them by variable; null = by role.
    """

    name: str
    source: str
    dim: str = "obs"
    columns: list[str] | dict[str, str] | None = None
    dtypes: dict[str, ColumnKind] = Field(default_factory=dict)
    parse_dates: list[str] = Field(default_factory=list)
    date_format: str | dict[str, str] | None = None
    factors: dict[str, str] = Field(default_factory=dict)
    levels: dict[str, list[Label]] = Field(default_factory=dict)
    derive: dict[str, str] = Field(default_factory=dict)
    drop_missing: MissingRule | dict[str, MissingRule] | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _names_or_mapping(cls, value: Any) -> Any:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        if value is None or (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
            return value
        raise ValueError("must be a list of names, or a mapping {name: column in the file}")

    @field_validator("drop_missing", mode="before")
    @classmethod
    def _rule_or_mapping(cls, value: Any) -> Any:
        rules = list(value.values()) if isinstance(value, dict) else [value]
        if value is None or all(isinstance(rule, str) and rule in get_args(MissingRule) for rule in rules):
            return value
        raise ValueError("must be null, rows, error, impute, or a mapping of variables to one of these")

    @field_validator("parse_dates", mode="before")
    @classmethod
    def _null_list_is_empty(cls, value: Any) -> Any:
        return [] if value is None else value

    @field_validator("date_format", mode="before")
    @classmethod
    def _format_or_mapping(cls, value: Any) -> Any:
        formats = list(value.values()) if isinstance(value, dict) else [value]
        if value is None or all(isinstance(text, str) and "%" in text for text in formats):
            return value
        raise ValueError("must be a format such as '%d/%m/%Y', or a mapping of columns to formats")

    @field_validator("levels", mode="before")
    @classmethod
    def _lists_of_labels(cls, value: Any) -> Any:
        lists = list(value.values()) if isinstance(value, dict) else []
        if value is None or (isinstance(value, dict) and all(isinstance(v, list) and v for v in lists)):
            return {} if value is None else value
        raise ValueError("must be a mapping of columns to lists of labels, {size: [small, medium, large]}")

    @field_validator("factors", "derive", "dtypes", mode="before")
    @classmethod
    def _null_mapping_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("derive", mode="before")
    @classmethod
    def _expressions_are_whole(cls, value: Any) -> Any:
        # YAML ends a text inside {...} at a comma
        cut = [name for name, text in value.items() if text is None] if isinstance(value, dict) else []
        if cut:
            raise ValueError(f'has no expression for "{cut[0]}"; quote one that contains a comma: {{z: "lag(x, 1)"}}')
        return value


class FileSpec(DataSpec):
    """Keys of the sources that read one file.

    Parameters
    ----------
    path
        The file; a relative path is from `paths.data`.
    sha256
        SHA-256 of the file, another one is an error; null = not checked.
    """

    path: str
    sha256: str | None = None


class TextTableSpec(FileSpec):
    """Keys of the sources that infer the type of a cell from its text.

    Parameters
    ----------
    missing
        Words for missing values.
    skip_rows
        Number of lines before the column names, or the numbers (from 1) of lines to leave out.
    """

    missing: list[str] = Field(default=["NA", "NaN"])
    skip_rows: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=1)]] = 0

    @property
    def skipped(self) -> frozenset[int]:
        """Positions (from 0) of the lines that are left out."""
        rows = self.skip_rows
        return frozenset(range(rows) if isinstance(rows, int) else (number - 1 for number in rows))

    @field_validator("skip_rows", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        numbers = value if isinstance(value, list) else [value]
        least = 1 if isinstance(value, list) else 0
        if all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in numbers):
            return value
        raise ValueError("must be the number of lines before the names, or a list of the numbers of lines, from 1")

    @field_validator("missing", mode="before", json_schema_input_type=list[Label])
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(word, str | int | float) for word in value):
            return [str(word) for word in value]
        raise ValueError("must be a list of words, [NA, '.', '-99']; [] for empty fields only")


class ArraySpec(DataSpec):
    """Keys of the sources whose variables may be arrays over several dims.

    Parameters
    ----------
    dims
        Dims of arrays by their name in the file, `{X: [obs, feature]}`.
    """

    dims: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("dims", mode="before")
    @classmethod
    def _null_dims_are_empty(cls, value: Any) -> Any:
        return {} if value is None else value


@dataclass(frozen=True)
class Role:
    """The role of a variable in a model, and the values allowed in that role.

    Parameters
    ----------
    variable
        Name of a data variable.
    kind
        `observed` (missing values may be imputed) or `predictor` (missing values are an error, or drop their rows).
    domain
        Allowed values: `count` means integers from 0, `index` 0-based codes, `number_or_date` is `real` or dates;
        `any` is not checked.
    key
        Config key that makes the model use the variable, for messages.
    imputed
        Whether missing values of an observed variable are imputed; else its rows are left out of the likelihood.
    optional
        Whether the model needs the variable in some of the rows only: missing values stay, and drop no rows.
    """

    variable: str
    kind: RoleKind
    domain: Domain = "real"
    key: str = "model"
    imputed: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """A registered data source.

    Parameters
    ----------
    spec
        Class of the section: `DataSpec` extended by the keys of the source.
    load
        `(spec, directory) -> Dataset`, the raw variables before `columns` is applied. Tables have `spec.dim` as their
        only dim, arrays the dims of `spec.dims`. Sets `attrs` `origin` and, for files,
        `sha256`. Raises `UserError`.
    check
        `(spec, directory) -> problems` that can be found cheaply, without reading the data (such as a missing file).
    """

    spec: type[DataSpec]
    load: Callable[[Any, Path], xr.Dataset]
    check: Callable[[Any, Path], list[Problem]] = lambda spec, directory: []


SOURCES: Registry[Source] = Registry(
    "data source", "bayesrun.data", "SOURCE", Source,
    others=("arrays", "columns", "dates", "design", "factors", "files", "frames", "prepare", "roles", "section"),
    shared={"array_sources": ("inline", "json", "netcdf"), "binary_tables": ("excel", "parquet")},
)  # fmt: skip


Size = Annotated[int, Field(ge=1, le=100_000_000)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Generator:
    """A registered simulator of data for `source: simulate`.

    Parameters
    ----------
    parameters
        Config section with the parameters of the generator and their defaults.
    draw
        `(parameters, seed) -> {name: array}`: simulates data from the true values in the parameters, with its own
        random generator created from the seed. All arrays have one entry per observation.
    """

    parameters: type[Section]
    draw: Callable[[Any, int], Mapping[str, Any]]


# The folder has no `__init__.py`: a namespace package is not a module of `bayesrun.data`, hence no data source.
GENERATORS: Registry[Generator] = Registry(
    "generator", "bayesrun.data.generators", "GENERATOR", Generator,
    shared={
        "examples": (
            *("ar", "garch", "gaussian_mixture", "linear_regression", "robust_regression", "smooth_curve"),
            "varying_intercepts",
            "zero_inflated_counts",
        )
    },
)  # fmt: skip

"""A model as it is written: one statement per variable, with expressions as text, for people to read.

A statement is what a paper has on one line: `theta_j ~ Normal(mu, tau)`. Expressions are texts of the language.
Those of regressions also have functions for what has no name there: `coefficient('x')` is the coefficient of a term,
`effect('g', 'x')` the effect of `x` in the row's group of `g`, `column('bs(x, 4)')` a term of several columns, and
`covariance(sd, cor)` the matrix of sds and correlations. `bayesrun.report.notation` sets them as formulas.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood, Potential, Random
from bayesrun.language.operations import Call, Constant, Data, Node, Variable
from bayesrun.language.plan import Plan
from bayesrun.language.values import Value, node_of
from bayesrun.lazy import xr

Kind = Literal["prior", "deterministic", "potential", "likelihood", "predictor"]

_OPTIONS = ("dims", "shape", "initval", "transform", "parameterization", "steps")
_INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "mod": "%",
    "power": "**",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "and": "and",
    "or": "or",
}
_PREFIX = {"negative": "-", "positive": "+", "not": "not "}
_UNSEEN = ("rearrange", "as_integer", "as_row", "bounded")
"""Operations that a reader need not see: they arrange an array, or state a support."""
ROWS = "rows"
"""The dim of the observed data in the statements of a model that knows no data."""
_MOST = 4_000  # characters of an expression


@dataclass(frozen=True)
class Statement:
    """One line of a model.

    Parameters
    ----------
    kind
        What is stated. A `predictor` is a parameter of a regression's family, whose link is a sum of terms.
    name
        Name of the variable; of a likelihood, of the observed data.
    dims
        Its dims; None for those that the model declares.
    distribution
        `{"dist": NAME, PARAMETER: expression}` as in YAML; empty for what is computed.
    expression
        Text of what is computed; empty for a random variable.
    link
        Name of a predictor's link.
    left
        The left side as an expression, where it is more than the name: several coefficients with one prior.
    over
        The dim along which a recurrence computes it; `y[t-1]` in its expression is the row before.
    """

    kind: Kind
    name: str
    dims: tuple[str, ...] | None = None
    distribution: Mapping[str, Any] = field(default_factory=dict)
    expression: str = ""
    link: str = ""
    left: str = ""
    over: str = ""


@dataclass(frozen=True)
class WrittenModel:
    """A model as it is written.

    Parameters
    ----------
    statements
        Its lines, priors first.
    dims
        Dims of each variable and data variable by name.
    sizes
        Size of each dim.
    rows
        The dim of the observed data; empty without data.
    times
        Dims whose labels are dates or times.
    """

    statements: tuple[Statement, ...]
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    rows: str = ""
    times: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> WrittenModel:
        """Rebuild it from the output of `plain`."""
        statements = tuple(Statement(**{**one, "dims": tuple(one["dims"] or ())}) for one in content["statements"])
        dims = {name: tuple(of) for name, of in content["dims"].items()}
        return cls(statements, dims, content["sizes"], content["rows"], tuple(content["times"]))


_TIMES = ("time", "date", "year", "month", "week", "day", "hour", "t")


def written_model(
    declared: Declaration, data: xr.Dataset | None, statements: Sequence[Statement] | None = None
) -> WrittenModel:
    """Write a model down.

    Parameters
    ----------
    declared
        The model; of one that is sampled in another form, the reported form is written.
    data
        The prepared data.
    statements
        Its lines, where the model's type writes them itself; None to read them off the declaration.
    """
    reported = declared.reported or declared
    dims = dict(_dims_of(reported))
    if data is not None:
        # a coefficient may have the name of its column, and statements name the column
        dims |= {str(n): tuple(map(str, array.dims)) for n, array in data.variables.items()}
    sizes = {dim: len(labels) for dim, labels in reported.coords.items()}
    sizes |= {} if data is None else {str(dim): int(size) for dim, size in data.sizes.items()}
    observed = [item.observed.dims for item in reported.items if isinstance(item, Likelihood)]
    given = read_off(reported, data) if statements is None else statements
    lines = tuple(replace(line, dims=dims.get(line.name, ())) if line.dims is None else line for line in given)
    used = {dim for of in dims.values() for dim in of}
    along = {line.over for line in lines}
    times = tuple(d for d in sizes if d in used and (d.lower() in _TIMES or d in along or _is_dated(data, d)))
    rows = next((of[0] for of in observed if of), "")
    return WrittenModel(lines, dims, {dim: size for dim, size in sizes.items() if dim in used}, rows, times)


def _is_dated(data: xr.Dataset | None, dim: str) -> bool:
    return data is not None and dim in data.coords and data[dim].dtype.kind == "M"


def _dims_of(declared: Declaration) -> Iterator[tuple[str, tuple[str, ...]]]:
    for item in declared.items:
        if isinstance(item, Likelihood):
            yield item.name, item.observed.dims
        elif isinstance(item, Container | Deterministic | Random):
            yield item.name, item.dims


def read_off(declared: Declaration, data: xr.Dataset | None = None) -> Iterator[Statement]:
    """Read a model's statements off its declaration."""
    names = _Names(declared, data)
    likelihoods = []
    for item in declared.items:
        if isinstance(item, Random) and item.name not in declared.helpers:
            yield Statement("prior", item.name, item.dims, _distribution(item.plan, names))
        elif isinstance(item, Deterministic) and item.name not in declared.helpers:
            yield Statement("deterministic", item.name, item.dims, expression=names.text(item.value))
        elif isinstance(item, Potential) and item.value is not None:
            yield Statement("potential", item.name, expression=names.text(item.value))
        elif isinstance(item, Likelihood):
            observed = names.of_observed(item)
            likelihoods.append(Statement("likelihood", observed, item.observed.dims, _distribution(item.plan, names)))
    yield from likelihoods


def distribution_in(prior: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader needs of a prior in YAML: its distribution, without options of the sampler."""
    return {name: value for name, value in prior.items() if name not in _OPTIONS and value is not None}


def _distribution(plan: Plan, names: _Names) -> dict[str, Any]:
    """Return a distribution with its parameters as texts: the user's own where the user wrote them."""
    if plan.prior:
        return distribution_in(plan.prior)
    values = {name: names.text(value) for name, value in plan.values.items()}
    inner = {
        name: [_distribution(part, names) for part in one] if isinstance(one, tuple) else _distribution(one, names)
        for name, one in plan.inner.items()
    }
    return {"dist": plan.family.name, **values, **inner}


class _Names:
    """The names by which the numbers and arrays of a declaration are written."""

    def __init__(self, declared: Declaration, data: xr.Dataset | None) -> None:
        self._declared, self._data = declared, data
        self._dims = dict(_dims_of(declared))
        arrays = {} if data is None else {str(n): array.values for n, array in data.variables.items()}
        arrays |= {dim: np.asarray(labels) for dim, labels in declared.coords.items()}
        arrays |= {item.name: item.numbers for item in declared.items if isinstance(item, Container)}
        self._arrays = {name: values for name, values in arrays.items() if values.ndim and values.dtype.kind in "iuf"}

    def of_observed(self, item: Likelihood) -> str:
        """Return the name of the data that a likelihood explains."""
        if item.observed.container:
            return item.observed.container
        for name, values in self._arrays.items():
            same = values.shape == item.observed.shape and name not in self._declared.coords
            missing = item.observed.missing
            if same and np.array_equal(np.where(missing.mask, 0, values) if missing else values, item.observed.values):
                return name
        return item.name

    def text(self, value: Value) -> str:
        """Return a value as an expression."""
        text = self._text(node_of(value))
        return ast.unparse(ast.parse(text, mode="eval")) if len(text) <= _MOST else "..."

    def _text(self, node: Node) -> str:
        if isinstance(node, Data | Variable):
            return node.name if node.name.isidentifier() else repr(node.name)
        if isinstance(node, Constant):
            return self._constant(np.asarray(node.numbers))
        return self._call(node)

    def _constant(self, numbers: Any) -> str:
        if numbers.size == 1:
            return f"{numbers.ravel()[0]:.12g}"
        same = (n for n, v in self._arrays.items() if v.shape == numbers.shape and np.array_equal(v, numbers))
        return next(same, "numbers")

    def _call(self, node: Call) -> str:
        operation, inputs = node.operation, node.inputs
        if operation in _UNSEEN:
            return self._text(inputs[0])
        if operation == "index":
            return self._index(node)
        parts = [self._text(given) for given in inputs]
        if operation in _INFIX:
            return "(" + f" {_INFIX[operation]} ".join(parts) + ")"
        if operation in _PREFIX:
            return f"({_PREFIX[operation]}{parts[0]})"
        if operation == "black_box":
            return f"{node.settings[1]}({parts[0]})"
        called = {"contract": "dot", "stack_first": "stack", "stack_last": "stack", "square": "square"}
        return f"{called.get(operation, operation)}({', '.join(parts)})"

    def _index(self, node: Call) -> str:
        array, picks, parts = node.inputs[0], iter(node.inputs[1:]), node.settings[0]
        dims = self._dims.get(array.name, ()) if isinstance(array, Variable) else ()
        texts = []
        for axis, part in enumerate(parts):
            pick = next(picks) if part is None else part
            if isinstance(pick, slice):
                texts.append(":" if pick == slice(None) else f"{_end(pick.start)}:{_end(pick.stop)}")
            elif isinstance(pick, Constant) and np.size(pick.numbers) == 1 and axis < len(dims):
                texts.append(repr(str(self._declared.coords[dims[axis]][int(pick.numbers)])))
            else:
                texts.append(self._text(pick) if isinstance(pick, Constant | Data | Variable | Call) else repr(pick))
        return f"{self._text(array)}[{', '.join(texts)}]"


def _end(end: Any) -> str:
    return "" if end is None else str(end)

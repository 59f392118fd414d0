"""The lines of a declarative model, in the user's own expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition, definitions
from bayesrun.models.declarative.marginal_variables import plain

if TYPE_CHECKING:
    from bayesrun.models.declarative import DeclarativeSpec


def statements(spec: DeclarativeSpec, data: xr.Dataset | None) -> list[Statement]:
    """Return a line for each definition, and for each variable of a recurrence or a system of equations."""
    parts = definitions(spec)
    return [line for part in parts for line in _lines(plain(part), data, parts)]


def _lines(part: Definition, data: xr.Dataset | None, parts: Sequence[Definition]) -> list[Statement]:
    if part.system is not None:
        return list(_of_system(part))
    if part.body.get("dist") == LINEAR_GAUSSIAN:
        return list(_of_series(part, data, parts))
    if part.kind != "recurrence":
        return [_statement(part)]
    over, dims = str(part.body["over"]), _dims_of_series(part, data)
    starts = [_start(name, given, 0, len(dims)) for name, given in (part.body.get("state") or {}).items()]
    firsts = [_start(name, given, 1, len(dims)) for name, given in (part.body.get("first") or {}).items()]
    steps = part.body["step"].items()
    lines = [Statement("deterministic", name, dims, expression=str(text), over=over) for name, text in steps]
    return [*lines, *(line for each in (*starts, *firsts) for line in each)]


def _dims_of_series(part: Definition, data: xr.Dataset | None) -> tuple[str, ...]:
    """Return the dims of a recurrence: those of the data that it uses, and last that along which it runs."""
    over = str(part.body["over"])
    used = [] if data is None else [data[name].dims for name in part.names if name in data.variables]
    widest = max((tuple(map(str, dims)) for dims in used if over in dims), key=len, default=(over,))
    return (*(dim for dim in widest if dim != over), over)


def _start(name: str, given: Any, row: int, axes: int) -> list[Statement]:
    """Return the lines of the values before the first row (row 0 and below), or from the first row on (row 1)."""
    listed = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    rows = range(row, row + len(listed)) if row else range(1 - len(listed), 1)
    pairs = [(f"{name}[{':, ' * (axes - 1)}{number}]", str(one)) for number, one in zip(rows, listed, strict=True)]
    return [Statement("deterministic", left, (), expression=text, left=left) for left, text in pairs]


def _of_series(part: Definition, data: xr.Dataset | None, parts: Sequence[Definition]) -> Iterator[Statement]:
    """Yield the observation of a structural time series, and how each of its components goes on from row to row."""
    name, body = part.name, part.body
    dims = () if data is None else tuple(map(str, data[part.observed].dims))
    over = dims[-1] if dims else "t"

    def line(component: str, mean: str, sd: Any) -> Statement:
        normal = {"dist": "Normal", "mu": mean, "sigma": sd}
        return Statement("prior", f"{name}_{component}", dims, normal, over=over)

    shown = [f"{name}_{each}" for each in ("level", "seasonal", "ar") if body.get(each) is not None]
    mean = " + ".join([*([] if body.get("mu") is None else [str(body["mu"])]), *shown])
    yield Statement("likelihood", part.observed or name, None, {"dist": "Normal", "mu": mean, "sigma": body["sigma"]})
    if body.get("level") is not None:
        slope = "" if body.get("trend") is None else f" + {name}_trend[t-1]"
        yield line("level", f"{name}_level[t-1]{slope}", body["level"]["sd"])
    if body.get("trend") is not None:
        yield line("trend", f"{name}_trend[t-1]", body["trend"]["sd"])
    if body.get("seasonal") is not None:
        lags = range(1, int(body["seasonal"]["period"]))
        terms = " + ".join(f"{name}_seasonal[t-{lag}]" for lag in lags)
        yield line("seasonal", f"-({terms})", body["seasonal"]["sd"])
    if body.get("ar") is not None:
        rho = str(body["ar"]["rho"])
        count = next((p.body.get("shape") for p in parts if p.kind == "prior" and p.name == rho), None)
        lags = range(1, 1 + (count if isinstance(count, int) else 1))
        each = [f"{rho}[{lag - 1}]" if isinstance(count, int) else f"({rho})" for lag in lags]
        terms = " + ".join(f"{one} * {name}_ar[t-{lag}]" for one, lag in zip(each, lags, strict=True))
        yield line("ar", terms, body["ar"]["sd"])


def _of_system(part: Definition) -> Iterator[Statement]:
    """Yield the rate of change of each state, and its value at the start."""
    time, begin = part.system.get("time", "t"), part.system.get("t0", 0)
    for name, text in part.system["rhs"].items():
        yield Statement("deterministic", part.name, (), expression=str(text), left=f"derivative({name}, {time})")
    for name, text in part.system["state"].items():
        yield Statement("deterministic", part.name, (), expression=str(text), left=f"at({name}, {begin})")


def _statement(part: Definition) -> Statement:
    given = part.body.get("dims")
    dims = None if not given else (given,) if isinstance(given, str) else tuple(given)
    assert part.kind != "recurrence"
    if part.kind in ("deterministic", "potential"):
        return Statement(part.kind, part.name, dims, expression=str(part.body["expr"]))
    return Statement(part.kind, part.observed or part.name, dims, distribution_in(part.body))

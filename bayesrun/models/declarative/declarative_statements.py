"""The lines of a declarative model, in the user's own expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.language.statements import Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition, definitions

if TYPE_CHECKING:
    from bayesrun.models.declarative import DeclarativeSpec


def statements(spec: DeclarativeSpec, data: xr.Dataset | None) -> list[Statement]:
    """Return a line for each definition."""
    return [_statement(part) for part in definitions(spec)]


def _statement(part: Definition) -> Statement:
    given = part.body.get("dims")
    dims = None if not given else (given,) if isinstance(given, str) else tuple(given)
    if part.kind in ("deterministic", "potential"):
        return Statement(part.kind, part.name, dims, expression=str(part.body["expr"]))
    return Statement(part.kind, part.observed or part.name, dims, distribution_in(part.body))

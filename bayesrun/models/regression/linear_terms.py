"""The interface of a linear predictor's terms: learn from rows, apply to new rows, and declare in YAML.

A linear predictor is a sum of terms, each of which is one small class (`population_term`, `group_effects`,
`offset_term`). `learn` takes the fitted rows and returns a fitted term, which holds no rows: it computes the
columns of any rows, and writes what it adds to the declarative model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bayesrun.data.base import Role
from bayesrun.errors import Problem
from bayesrun.lazy import xr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.language.declaration import Deterministic
    from bayesrun.language.statements import Statement


@dataclass(frozen=True)
class Rows:
    """Rows from which a term learns, or to which it is applied.

    Parameters
    ----------
    data
        The prepared data.
    dim
        The row dimension.
    key
        Config key for messages.
    new_levels
        Whether groups not seen in the fit are allowed.
    """

    data: xr.Dataset
    dim: str
    key: str
    new_levels: bool = False

    @property
    def size(self) -> int:
        """Number of rows."""
        return int(self.data.sizes[self.dim])


@dataclass(frozen=True)
class Setting:
    """Settings of a term's declaration, in addition to what the term has learned.

    Parameters
    ----------
    prefix
        Prefix of its variables' names: empty for the main parameter, otherwise the parameter: `sigma_`.
    priors
        `model.priors`.
    spread
        Natural scale of changes in the linear predictor, `s` in `term_scale`.
    middle
        Natural scale of the linear predictor itself.
    target
        Approximate linear predictor, over (row), or one number for all; used for the initial point.
    residual
        Residual of the population part, on the scale of the linear predictor, over (row); None if
        unknown.
    information
        Information of each row about its linear predictor: the inverse variance, over (row).
    data
        The fitted rows, whose variables expressions in priors may use.
    response
        Sd of the response in its own units.
    noise
        Name of the sd of the noise around the linear predictor; None if it is not one number.
    thresholds
        Whether thresholds take the place of the intercept.
    """

    prefix: str
    priors: Mapping[str, Any]
    spread: float
    middle: float
    target: NDArray[Any] | float = 0.0
    residual: NDArray[Any] | None = None
    information: NDArray[Any] | None = None
    data: xr.Dataset | None = None
    response: float = 1.0
    noise: str | None = None
    thresholds: bool = False


@dataclass(frozen=True)
class Part:
    """The contribution of a term to the declarative model.

    Parameters
    ----------
    expression
        Its summand in the linear predictor.
    priors, deterministics, likelihood
        Entries of these sections of the model.
    helpers
        Names of auxiliary variables, which are not reported.
    whitened
        Names of a vector of coefficients and of the data matrix by which it is multiplied, for sampling.
    notes
        Descriptions of choices that were made from the data.
    by_threshold
        Its summand in the linear predictor at each threshold of an ordered response, over (row, threshold).
    """

    expression: str
    priors: Mapping[str, Any] = field(default_factory=dict)
    deterministics: Mapping[str, Any] = field(default_factory=dict)
    likelihood: Mapping[str, Any] = field(default_factory=dict)
    helpers: frozenset[str] = frozenset()
    whitened: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    by_threshold: str = ""


class FittedTerm(Protocol):
    """A term with its learned state."""

    def plain(self) -> Mapping[str, Any]:
        """Return the learned state as plain, JSON-serializable values."""

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the variables over the rows that its expression names, with the labels of their dims."""

    def declare(self, setting: Setting) -> Part:
        """Return its contribution to the declarative model."""

    def known_groups(self) -> Mapping[str, int]:
        """Return the dims that grow with new groups, each with the number of groups of the fit."""

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return the helpers as functions of the posterior's variables, for new rows."""


class Term(Protocol):
    """A term as written by the user."""

    def roles(self) -> tuple[Role, ...]:
        """Return the data variables that it needs."""

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedTerm, xr.Dataset]:
        """Learn from the fitted rows; also return their columns."""

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedTerm:
        """Rebuild a fitted term from the output of `plain`."""

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names that its priors may have in `model.priors`, those in a section as `sd.NAME`."""


@runtime_checkable
class WrittenTerm(Protocol):
    """A term that writes its own lines of the model as people read it (`bayesrun.language.statements`)."""

    def summands(self) -> tuple[str, ...]:
        """Return what it adds to the linear predictor, as texts of statements."""

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of its variables, whose names begin with the prefix."""


@runtime_checkable
class RangedTerm(Protocol):
    """A fitted term that is worse, or another one, outside of the range of the fitted rows."""

    def outside(self, rows: Rows) -> tuple[str, ...]:
        """Return what to know of rows that are outside of the range."""


def repeated_names(parts: Sequence[Part], key: str) -> list[Problem]:
    """Find variables of one name that differ, such as the column `sd_g` beside the sd of `(1 | g)`.

    Parameters
    ----------
    parts
        What the terms declare.
    key
        Config key of the formula, for messages.
    """
    first: dict[str, Any] = {}
    items = [item for part in parts for item in (*part.priors.items(), *part.deterministics.items())]
    repeated = [name for name, body in items if first.setdefault(name, body) != body]
    message = "two variables of the model are called '{}', and one may be a column"
    return [Problem(key, message.format(name), "rename the column by data.columns") for name in repeated]

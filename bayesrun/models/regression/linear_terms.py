"""What a term of a linear predictor is: it learns from rows, is applied to new ones, and declares itself in YAML.

A linear predictor is a sum of terms, each of which is one small class (`population_term`, `group_effects`,
`offset_term`). `learn` looks at the rows of the fit and returns a fitted term, which holds no rows: it gives the
columns of any rows, and writes what it adds to the declarative model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bayesrun.data.base import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.language.declaration import Deterministic
    from bayesrun.lazy import xr


@dataclass(frozen=True)
class Rows:
    """Rows that a term learns from, or is applied to.

    Parameters
    ----------
    data
        The prepared data.
    dim
        The row dimension.
    key
        Config key to name in messages.
    new_levels
        Whether groups that the fit has not seen are allowed.
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
    """What a term's declaration depends on beside what the term has learned.

    Parameters
    ----------
    prefix
        What the names of its variables begin with: empty for the main parameter, else the parameter: `sigma_`.
    priors
        `model.priors`.
    spread
        Natural size of a change of the linear predictor, `s` in `term_scale`.
    middle
        Natural size of the linear predictor itself.
    target
        About where the linear predictor is, over (row), or one number for all; sampling starts there.
    residual
        What the population part leaves of the response, on the scale of the linear predictor, over (row); None where
        nothing is known of it.
    information
        What each row tells about its linear predictor: the inverse variance, over (row).
    data
        The rows of the fit, whose variables the expressions of priors may name.
    response
        Sd of the response in its own units.
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


@dataclass(frozen=True)
class Part:
    """What a term adds to the declarative model.

    Parameters
    ----------
    expression
        Its contribution to the linear predictor.
    priors, deterministics, likelihood
        Entries of these sections of the model.
    helpers
        Names of variables that users don't look at.
    whitened
        Name of a vector of coefficients, and of the matrix of data that it is multiplied with, for sampling.
    notes
        What was chosen from the data, in words.
    """

    expression: str
    priors: Mapping[str, Any] = field(default_factory=dict)
    deterministics: Mapping[str, Any] = field(default_factory=dict)
    likelihood: Mapping[str, Any] = field(default_factory=dict)
    helpers: frozenset[str] = frozenset()
    whitened: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()


class FittedTerm(Protocol):
    """A term with what it has learned."""

    def plain(self) -> Mapping[str, Any]:
        """Return what was learned as plain values that JSON can hold."""

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the variables over the rows that its expression names, with the labels of their dims."""

    def declare(self, setting: Setting) -> Part:
        """Return what it adds to the declarative model."""

    def known_groups(self) -> Mapping[str, int]:
        """Return the dims that grow with new groups, each with the number of groups of the fit."""

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return how helpers follow from the variables of the posterior, for new rows."""


class Term(Protocol):
    """A term as it is written."""

    def roles(self) -> tuple[Role, ...]:
        """Return the data variables that it needs."""

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedTerm, xr.Dataset]:
        """Learn from the rows of the fit; return also their columns."""

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedTerm:
        """Make a fitted term again of what `plain` returned."""

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names that its priors may have in `model.priors`."""

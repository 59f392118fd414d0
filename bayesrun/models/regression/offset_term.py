"""An offset: an expression over the rows that is added to the linear predictor without a coefficient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.language.learned import Learned, LearnedValue
from bayesrun.lazy import xr
from bayesrun.models.regression.design_matrix import offset_values
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.response_terms import names_of

if TYPE_CHECKING:
    from bayesrun.language.declaration import Deterministic


@dataclass(frozen=True)
class OffsetTerm:
    """`offset(expression)`, or `options.offset`.

    Parameters
    ----------
    text
        The expression.
    key
        Config key that holds it.
    """

    text: str
    key: str

    def roles(self) -> tuple[Role, ...]:
        """Return the data variables of the expression."""
        return tuple(Role(name, "predictor", "real", self.key) for name in names_of(self.text, self.key))

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return nothing: an offset has no coefficient."""
        return ()

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedOffset, xr.Dataset]:
        """Compute it, and store its reductions over the rows."""
        learned = Learned(rows.dim)
        values = offset_values(rows.data, self.text, rows.dim, learned, self.key)
        fitted = FittedOffset(self, dict(learned.constants), setting.prefix)
        return fitted, fitted.as_columns(values, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedOffset:
        """Rebuild it from the output of `plain`."""
        constants = {text: LearnedValue.from_plain(of) for text, of in content["constants"].items()}
        return FittedOffset(self, constants, setting.prefix)


@dataclass(frozen=True)
class FittedOffset:
    """An offset with the learned state of its expression."""

    term: OffsetTerm
    constants: Mapping[str, LearnedValue]
    prefix: str

    def plain(self) -> Mapping[str, Any]:
        """Return the reductions over the fitted rows."""
        return {"constants": {text: constant.plain() for text, constant in self.constants.items()}}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Compute it for other rows."""
        learned = Learned(rows.dim, self.constants)
        return self.as_columns(offset_values(rows.data, self.term.text, rows.dim, learned, self.term.key), rows)

    def as_columns(self, values: Any, rows: Rows) -> xr.Dataset:
        """Return it as a variable over the rows."""
        return xr.Dataset({f"{self.prefix}offset": (rows.dim, values)})

    def declare(self, setting: Setting) -> Part:
        """Add it to the linear predictor."""
        return Part(f"{self.prefix}offset")

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: it has no groups."""
        return {}

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return nothing: it has no variables."""
        return ()

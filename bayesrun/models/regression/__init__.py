"""Regressions: a formula, a family and priors; `type: regression`, and `type: glm`.

`regression_plan` parses the config, `expansion` writes it as a declarative model, `regression_model` builds the model.
A linear predictor is a sum of terms (`linear_terms`), a family one entry of a table (`families`). A model that needs
only a design matrix is built by `glm_model`, with sums over the rows in place of the rows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesrun.models.regression.regression_model import MODEL


def __getattr__(name: str) -> Any:
    """Load the model when it is asked for: commands that only need the table of families import a tenth as much."""
    if name != "MODEL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("bayesrun.models.regression.regression_model").MODEL


__all__ = ["MODEL"]

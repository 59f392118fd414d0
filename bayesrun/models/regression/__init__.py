"""Regressions: a formula, a family and priors; `type: regression`, and `type: glm`.

`regression_plan` parses the config, `expansion` writes it as a declarative model, `regression_model` builds the model.
A linear predictor is a sum of terms (`linear_terms`), a family one entry of a table (`families`). A model that needs
only a design matrix is built by `glm_model`, with sums over the rows in place of the rows.
"""

from __future__ import annotations

from bayesrun.models.regression.regression_model import MODEL

__all__ = ["MODEL"]

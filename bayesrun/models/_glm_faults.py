"""What the data show to be wrong with a GLM: responses out of range, collinear columns, complete separation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bayesrun.errors import Problem
from bayesrun.models._glm_data import Prepared
from bayesrun.models._glm_spec import KEY, GlmSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ANYWAY = "or let the priors alone tell them apart: model.options.check_design=false"


def wrong_response(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    """Find responses that the family can't have."""
    import numpy as np

    if spec.known_family().domain == "real":
        return
    values = prepared.response.values.astype(float)
    known = ~np.isnan(values)
    top = np.inf if spec.family != "binomial" else 1 if prepared.trials is None else prepared.trials[known]
    words = "counts" if spec.family != "binomial" else "0 or 1"
    words = words if prepared.trials is None else f"counts from 0 to {spec.options.trials}"
    values = values[known]
    if np.any((values < 0) | (values != np.round(values)) | (values > top)):
        hint = "give the left side a condition (Y > median(Y)), model.options.trials, or another family"
        yield Problem(KEY, f"the response of family {spec.family} must be {words}", hint)


def wrong_design(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    """Find columns whose coefficients the likelihood does not hold, and name them."""
    from bayesrun.models._glm_checks import collinear

    made = prepared.design
    known = ~prepared.response.isnull().values
    matrix = made.matrix if known.all() else made.matrix[known]
    for names in collinear(matrix, made.columns):
        message = f"columns are collinear: {', '.join(names)}" if len(names) > 1 else f"'{names[0]}' is 0 in every row"
        yield Problem(KEY, message, f"leave one of them out; {_ANYWAY}")
    if spec.family == "binomial":
        yield from _separation(prepared, known)


def _separation(prepared: Prepared, known: NDArray[Any]) -> Iterator[Problem]:
    import numpy as np

    from bayesrun.models._glm_checks import separating

    successes = prepared.response.values[known].astype(float)
    trials = np.ones(successes.size) if prepared.trials is None else prepared.trials[known]
    if np.any((successes > 0) & (successes < trials)):
        return  # a row with both has no separation
    if np.all(successes > 0) or not np.any(successes > 0):
        yield Problem(KEY, f"every row of the response is {int(successes[0] > 0)}", "nothing can be learned from it")
        return
    names = separating(prepared.design.matrix[known], successes > 0, prepared.design.columns)
    if names:
        message = f"complete separation: {', '.join(names)} tells every success from every failure"
        hint = f"the likelihood has no maximum: leave it out, or join levels; {_ANYWAY}, with priors narrow enough"
        yield Problem(KEY, message, hint)

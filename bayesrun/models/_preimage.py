"""A discrete variable held to the values of which a function gives exactly what was observed.

Metropolis steps can't leave such a value: the next one that is possible may be several steps away, and everything in
between has probability 0. So the possible values are listed, and which of them it is is a categorical variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.errors import fail
from bayesrun.models.functions.base import Function

if TYPE_CHECKING:
    from numpy.typing import NDArray

FURTHEST = 100_000
"""Largest absolute value that is looked at."""
_NEGLIGIBLE = 1e-12
"""Share of the prior's largest probability below which a value is left out."""


@dataclass(frozen=True)
class Preimage:
    """Possible values and their prior probabilities, over (place) or (row, place); rows are filled up with 0."""

    values: NDArray[Any]
    probabilities: NDArray[Any]


def preimage(prior: Any, function: Function, observed: NDArray[Any], key: str) -> Preimage:
    """List the values of a discrete variable that give what was observed.

    Parameters
    ----------
    prior
        The variable, a scalar or one a row, under its prior.
    function
        The function of it that was observed.
    observed
        What was observed, over the rows.
    key
        Config key of the observed variable, for messages.

    Raises
    ------
    UserError
        When no value that the prior allows gives what was observed.
    """
    import numpy as np

    values, logs = _support(prior)
    given = np.array([function.call(int(value)) for value in values])
    wanted = observed if prior.ndim else observed[:1]
    found = [_possible(values, logs[:, row], given == b) for row, b in enumerate(wanted)]
    for b, (possible, _) in zip(wanted, found, strict=True):
        if not possible.size:
            message = f"{b} was observed, and no a that its prior allows gives it"
            raise fail(key, message, "mend the data, or give a distribution around b: model.options.likelihood")
    longest = max(len(possible) for possible, _ in found)
    table = np.array([np.pad(possible, (0, longest - len(possible)), mode="edge") for possible, _ in found])
    weights = np.array([np.pad(shares, (0, longest - len(shares))) for _, shares in found])
    return Preimage(table, weights) if prior.ndim else Preimage(table[0], weights[0])


def categorical(name: str, possible: Preimage) -> Any:
    """Put the choice among possible values into the model in context, and return the chosen ones as a tensor."""
    import numpy as np
    import pymc3 as pm
    import theano.tensor as tt

    rows = possible.values.shape[:-1]
    place = pm.Categorical(name, p=possible.probabilities, shape=rows)
    table = tt.as_tensor_variable(possible.values)
    return table[tt.arange(rows[0]), place] if rows else table[tt.cast(place, "int64")] + np.int64(0)


def _support(prior: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values that the prior allows, and their log probabilities over (value, row)."""
    import numpy as np

    values = np.arange(-FURTHEST, FURTHEST + 1)
    logs = np.asarray(prior.distribution.logp(values[:, None]).eval(), dtype=float)
    logs = np.broadcast_to(logs, (len(values), prior.tag.test_value.size))
    kept = (logs > logs.max(axis=0) + np.log(_NEGLIGIBLE)).any(axis=1)
    return values[kept], logs[kept]


def _possible(values: NDArray[Any], logs: NDArray[Any], fits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    fits = fits & (logs > logs.max() + np.log(_NEGLIGIBLE))
    shares = np.exp(logs[fits] - logs.max())
    return values[fits], shares / shares.sum() if shares.size else shares

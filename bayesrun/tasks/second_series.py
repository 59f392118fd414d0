"""A second, simulated set of data beside that of a run, in models whose rows follow from the rows before.

The density of such a row is computed from the whole series, so a likelihood can't just get other values: what leads to
it is written a second time, in YAML, with other names. `y` becomes `y_again`, a recurrence along `y` one along
`y_again`; parameters are those of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import Problem, check, fail
from bayesrun.language.declaration import Declaration, Likelihood
from bayesrun.lazy import xr

AGAIN = "_again"
"""End of the names of the second set."""
TERMS = "terms"
"""Parameter of series with hidden states: the log density of each row, made of the data."""
_WORD = re.compile(r"[^\W\d]\w*")


def follows_itself(declared: Declaration) -> bool:
    """Return whether rows of a likelihood follow from its own earlier rows."""
    hidden = any(isinstance(item, Likelihood) and TERMS in item.plan.values for item in declared.items)
    return hidden or bool(declared.fed)


def without_states(declared: Declaration, posterior: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Leave out what was drawn for the run's own series: a new series has hidden states of its own."""
    states = {name for hidden in declared.hidden for name in hidden.shapes}
    return {name: values for name, values in posterior.items() if name not in states}


@dataclass(frozen=True)
class SecondSeries:
    """Makes the model of a run's data and of simulated data of the same rows.

    Parameters
    ----------
    config
        The run's config, whose model explains every series twice.
    data
        The run's data.
    observed
        Data variable that each likelihood explains.
    """

    config: RunConfig
    data: xr.Dataset
    observed: Mapping[str, str]

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> Declaration:
        """Return the model, given the simulated values of each likelihood."""
        made = {}
        for likelihood, name in self.observed.items():
            own, new = self.data[name], np.asarray(values[likelihood])
            # counts stay whole numbers; measurements may have been written as whole numbers
            is_count = own.dtype.kind in "biu" and np.array_equal(new, np.rint(new))
            made[f"{name}{AGAIN}"] = own.copy(data=new.astype(own.dtype) if is_count else new)
        declared = self.config.model_type.build(self.data.assign(made), self.config.model)
        assert isinstance(declared, Declaration)
        return declared


def second_series(config: RunConfig, data: xr.Dataset | None) -> SecondSeries:
    """Write the model of a config for two sets of data.

    Parameters
    ----------
    config
        The run's config.
    data
        Its data.

    Raises
    ------
    UserError
        When the model is not written in YAML, or a prior depends on what is observed.
    """
    model = config.plain["model"]
    if data is None or model.get("type") != "declarative":
        raise fail("model", "explains a series, which only a model in YAML can do twice", "leave run out")
    observed = {name: str(body["observed"]) for name, body in model["likelihood"].items()}
    changed = _depending(model, set(observed.values()))
    of_priors = sorted(name for name, body in (model.get("priors") or {}).items() if _words(body) & changed)
    message = "depends on the series that is explained, which would change the prior"
    check([Problem(f"model.priors.{name}", message, "leave run out") for name in of_priors])
    names = {name: f"{name}{AGAIN}" for name in changed}
    recurrences = _listed(model.get("recurrence"))
    again = [_renamed(one, names) for one in recurrences if _words(one) & changed]
    computed = model.get("deterministics") or {}
    doubled = {
        **model,
        "likelihood": {
            **model["likelihood"],
            **{f"{name}{AGAIN}": _renamed(body, names) for name, body in model["likelihood"].items()},
        },
        "recurrence": [*recurrences, *again] or None,
        "deterministics": {**computed, **{names[n]: _renamed(computed[n], names) for n in computed if n in changed}},
    }
    return SecondSeries(parse_config(OmegaConf.create({**config.plain, "model": doubled})), data, observed)


def _depending(model: Mapping[str, Any], names: set[str]) -> set[str]:
    """Return names, and those of recurrences and deterministics that are computed from them."""
    found = set(names)
    parts = [(set(one.get("step") or {}), _words(one)) for one in _listed(model.get("recurrence"))]
    parts += [({name}, _words(body)) for name, body in (model.get("deterministics") or {}).items()]
    for _ in range(len(parts)):
        for made, words in parts:
            if words & found:
                found |= made
    return found


def _listed(recurrence: Any) -> list[Any]:
    return list(recurrence) if isinstance(recurrence, list) else [recurrence] if recurrence else []


def _words(body: Any) -> set[str]:
    """Return all names in the values and keys of a part of the model."""
    if isinstance(body, Mapping):
        return {word for key, value in body.items() for word in (*_WORD.findall(str(key)), *_words(value))}
    if isinstance(body, list):
        return {word for value in body for word in _words(value)}
    return set(_WORD.findall(body)) if isinstance(body, str) else set()


def _renamed(body: Any, names: Mapping[str, str]) -> Any:
    if isinstance(body, Mapping):
        return {names.get(key, key): _renamed(value, names) for key, value in body.items()}
    if isinstance(body, list):
        return [_renamed(value, names) for value in body]
    return _WORD.sub(lambda found: names.get(found[0], found[0]), body) if isinstance(body, str) else body

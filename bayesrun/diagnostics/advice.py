"""Advice on a finding, given the parameterization and the sampler settings of the model.

Each function returns sentences, or none if its advice was already followed or does not apply. An override in backticks
can be added to the command unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bayesrun.diagnostics.base import Judged
from bayesrun.language.distributions import family

TIGHTER_PRIORS = "Use tighter priors, above all for scale parameters."

_FORMS = {"stochastic_volatility": "whitened", "switchpoint": "marginal", "glm": "whitened"}
"""The form that is easiest to sample, for each model type with `model.options.form`."""
_HEAVIER = {"normal": "student", "poisson": "negative_binomial"}
_HEAVIER_DISTRIBUTION = {"Normal": "StudentT", "Poisson": "NegativeBinomial", "Binomial": "BetaBinomial"}
_SCALES = {
    "HalfNormal": "sigma",
    "HalfCauchy": "beta",
    "HalfStudentT": "sigma",
    "Exponential": "lam",
    "TruncatedNormal": "sigma",
    "Gamma": "beta",
    "InverseGamma": "beta",
}
"""The parameter that makes a distribution wider or narrower, of those that have no location and scale."""
_WIDTHS = (0.5, 1.0, 2.0, 4.0)
_ROUND_UP = 1.25
_SHOWN = 3


def other_forms(judged: Judged) -> list[str]:
    """Advise an equivalent form of the model with the same posterior."""
    best = _FORMS.get(str(judged.model.get("type")))
    form = (judged.model.get("options") or {}).get("form")
    if best is not None and form not in (None, best):
        return [f"Use a form that is easier to sample: `model.options.form={best}`."]
    return list(_parameterizations(judged.model))[:_SHOWN]


def _parameterizations(model: Mapping[str, Any]) -> Iterator[str]:
    priors = model.get("priors") or {}
    for name, prior in priors.items():
        key, current = f"model.priors.{name}.parameterization", prior.get("parameterization")
        sign = "" if "parameterization" in prior else "+"
        if any(prior.get(other) is not None for other in ("transform", "lower", "upper")):
            continue
        if prior.get("dist") == "GaussianRandomWalk" and current != "whitened" and "init" not in prior:
            yield f"Whiten the random walk {name}: `{sign}{key}=whitened`."
        elif current == "noncentered":
            yield f"{name} is non-centred, which samples poorly where the data are informative: try `{key}=centered`."
        elif _is_hierarchical(prior, priors):
            yield f"{name} is centred, which samples poorly where the data are weak: try `{sign}{key}=noncentered`."


def _is_hierarchical(prior: Mapping[str, Any], priors: Mapping[str, Any]) -> bool:
    """Return whether the scale of a location-scale prior is itself a parameter."""
    known = family(str(prior.get("dist")))
    if known is None or known.location_scale is None:
        return False
    scales = {known.location_scale[1], "tau", "lam"} & set(known.parameters)
    return any(set(re.findall(r"\w+", str(prior.get(scale)))) & set(priors) for scale in scales)


def smaller_steps(judged: Judged) -> list[str]:
    """Advise smaller steps, unless they are already small."""
    accept = float(judged.sampler.get("target_accept", 0.8))
    # with init=auto and the default, chains may have taken the steps of 0.95 already
    again = judged.sampler.get("init", "auto") == "auto" and accept == 0.8
    wanted = 0.99 if again or accept >= 0.95 else 0.95
    return [f"Take smaller steps: `sampler.target_accept={wanted}`."] if accept < wanted else []


def deeper_trees(judged: Judged) -> list[str]:
    """Advise a dense mass matrix, and deeper trees."""
    init = str(judged.sampler.get("init", "auto"))
    dense = [] if init.endswith("adapt_full") else ["Use a dense mass matrix: `sampler.init=adapt_full`."]
    return [*dense, f"Allow deeper trees: `sampler.max_treedepth={judged.max_treedepth + 2}`."]


def more_draws(judged: Judged, factor: float) -> list[str]:
    """Advise `factor` times the draws, rounded up; for a sampler with warm-up, more warm-up draws, too."""
    draws = int(judged.sampler.get("draws", judged.idata.posterior.sizes["draw"]))
    wanted = _rounded(draws * factor * _ROUND_UP)
    return [f"Increase the number of draws: `sampler.draws={wanted}`."]


def longer_warm_up(judged: Judged) -> list[str]:
    """Advise twice as many tuning draws, if the sampler tunes."""
    tune = int(judged.sampler.get("tune", 0))
    if judged.method != "nuts" or tune <= 0:
        return []
    return [f"Tune longer: `sampler.tune={2 * tune}`."]


def _rounded(number: float) -> int:
    """Round up to two digits."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(math.ceil(number / unit) * unit)


def sweep_of_prior(model: Mapping[str, Any], scalar: str) -> list[str]:
    """Advise a sweep over the width of the prior behind a scalar, where that is a number.

    Parameters
    ----------
    model
        The config section `model`.
    scalar
        A name as in `summary.csv`. Where the prior's width is a parameter itself, that parameter's prior is swept.
    """
    found = _width_of(model.get("priors") or {}, scalar.partition("[")[0], ())
    if found is None:
        return []
    key, width = found
    values = ",".join(f"{width * times:g}" for times in _WIDTHS)
    return [
        f"A sweep shows what wider and narrower priors do; add this to the command: `-m model.priors.{key}={values}`."
    ]


def _width_of(priors: Mapping[str, Any], name: str, seen: tuple[str, ...]) -> tuple[str, float] | None:
    """Return the key, below the priors, of a width that is a number, and that number."""
    prior = priors.get(name, priors.get("default") if not seen else None)
    if not isinstance(prior, Mapping) or name in seen:
        return None
    known = family(str(prior.get("dist")))
    if known is None:
        return None
    scale = known.location_scale[1] if known.location_scale else _SCALES.get(known.name, "")
    width = prior.get(scale)
    if isinstance(width, int | float) and not isinstance(width, bool):
        return f"{name if name in priors else 'default'}.{scale}", float(width)
    others = [other for other in re.findall(r"\w+", str(width)) if other in priors]
    return next(filter(None, (_width_of(priors, other, (*seen, name)) for other in others)), None)


def heavier_tails(judged: Judged) -> list[str]:
    """Advise a likelihood that is less sensitive to single points."""
    wanted = _HEAVIER.get(str(judged.model.get("family")))
    if wanted is not None:
        return [f"Use a likelihood with heavier tails: `model.family={wanted}`."]
    likelihoods = (judged.model.get("likelihood") or {}).items()
    found = [(name, str(body.get("dist"))) for name, body in likelihoods if body.get("dist") in _HEAVIER_DISTRIBUTION]
    return [
        f"Use a likelihood with heavier tails in model.likelihood.{name}: {_HEAVIER_DISTRIBUTION[dist]}, not {dist}."
        for name, dist in found
    ]


def longer_fit(judged: Judged) -> list[str]:
    """Advise more steps of the optimizer, or smaller ones."""
    iterations = int(judged.sampler.get("iterations", 30_000))
    rate = float(judged.sampler.get("learning_rate", 0.01))
    return [
        f"Fit longer: `sampler.iterations={2 * iterations}`.",
        f"Or in smaller steps: `sampler.learning_rate={rate / 2:g}`.",
    ]


def better_approximation(judged: Judged) -> list[str]:
    """Advise an approximation with correlations, or exact sampling."""
    full = judged.sampler.get("approximation") == "full_rank"
    return [] if full else ["Approximate with correlations: `sampler.approximation=full_rank`."]


def more_particle_steps(judged: Judged) -> list[str]:
    """Advise more Metropolis steps per stage of SMC."""
    return [f"Take more steps per stage: `sampler.n_steps={2 * int(judged.sampler.get('n_steps', 25))}`."]

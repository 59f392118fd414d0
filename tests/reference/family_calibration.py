"""Simulation-based calibration of the families of regressions, each with one predictor and one group effect.

    python -m tests.reference.family_calibration --fits 500 gamma weibull

Parameters are drawn from the prior and responses from the likelihood; the rank of each true value among the draws of
its posterior is uniform. A family is built and compiled once; other responses go into the same functions. A likelihood
that is summed over rows beforehand is built anew for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from bayesrun.diagnostics.calibration import Uniformity, ranks, uniformity
from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.compiled_functions import begin_run
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.language.declaration import Container, Declaration, Likelihood
from bayesrun.models import regression
from bayesrun.models.regression.families import FAMILY_TABLE
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import NutsSpec

ROWS, GROUPS = 30, 6
KEPT = 63
SPEC = NutsSpec(draws=2 * KEPT, tune=200, chains=1, cores=1)
LEVELS = ("low", "middle", "high")


def normal(sigma: float, mu: float = 0.0) -> dict[str, Any]:
    return {"dist": "Normal", "mu": mu, "sigma": sigma}


def gamma(alpha: float, beta: float) -> dict[str, Any]:
    return {"dist": "Gamma", "alpha": alpha, "beta": beta}


def share(alpha: float, beta: float) -> dict[str, Any]:
    return {"dist": "Beta", "alpha": alpha, "beta": beta}


# proper priors, tight enough that no response overflows
PRIORS: Mapping[str, Any] = {
    "Intercept": normal(0.5),
    "default": normal(0.5),
    "sd": gamma(4, 10),
    "sigma": gamma(6, 6),
    "nu": gamma(20, 3),
    "alpha": gamma(8, 3),
    "lam": gamma(8, 3),
    "phi": gamma(10, 2),
    "kappa": gamma(8, 3),
    "zi": share(3, 5),
    "hu": share(3, 5),
    "zoi": share(3, 5),
    "coi": share(3, 3),
    "cutpoints": normal(1.0),
}
OWN: Mapping[str, Mapping[str, Any]] = {"skew_normal": {"alpha": normal(2.0)}}


@dataclass(frozen=True)
class Simulated:
    """A family's model, ready for any responses.

    Parameters
    ----------
    model
        The sampled model.
    fitted_to
        The same for other responses, as they were drawn.
    response
        Name of the response.
    truth
        Values drawn from the prior (fit, ...) by variable.
    responses
        Responses drawn for them (fit, row, ...).
    """

    model: Any
    fitted_to: Callable[[Any], Any]
    response: str
    truth: Mapping[str, Any]
    responses: Any


def data_of(family: str, responses: Any = None) -> xr.Dataset:
    """Return rows with some responses of a family, by default arbitrary ones."""
    rng = np.random.default_rng(11)
    y: Any = {
        "real": rng.normal(size=ROWS),
        "angle": rng.uniform(-3, 3, ROWS),
        "unit": rng.uniform(0.1, 0.9, ROWS),
        "unit_closed": np.where(rng.random(ROWS) < 0.3, rng.integers(0, 2, ROWS), rng.uniform(0.1, 0.9, ROWS)),
        "positive": rng.gamma(2.0, size=ROWS),
        "nonnegative": rng.gamma(2.0, size=ROWS) * (rng.random(ROWS) < 0.7),
        "binary": rng.integers(0, 2, ROWS),
        "count": rng.poisson(1.0, ROWS),
        "trials": rng.integers(0, 6, ROWS),
        "level": np.array(LEVELS)[rng.integers(0, 3, ROWS)],
        "counts": rng.integers(0, 4, ROWS),
    }[FAMILY_TABLE[family].values]
    y = y if responses is None else np.asarray(responses, y.dtype)
    columns = {"y": y, "x": rng.normal(size=ROWS), "g": np.repeat(list("abcdef"), ROWS // GROUPS)}
    columns |= {"n": np.full(ROWS, 6), "a": rng.integers(1, 4, ROWS), "b": rng.integers(0, 4, ROWS)}
    made = xr.Dataset({name: ("obs", values) for name, values in columns.items()}, attrs={"dim": "obs"})
    made["y"].attrs["levels"] = list(LEVELS)
    return made


def spec_of(family: str) -> RegressionSpec:
    """Return the regression that is calibrated."""
    left = {"trials": "y | trials(n)", "counts": "cbind(y, a, b)"}.get(FAMILY_TABLE[family].values, "y")
    keys = {"family": family, "priors": {**PRIORS, **OWN.get(family, {})}}
    return RegressionSpec.model_validate(
        {"name": family, "type": "regression", "formula": f"{left} ~ x + (1 | g)", **keys}
    )


def simulated(family: str, fits: int, seed: int) -> Simulated:
    """Build a family's model, and draw from its prior."""
    declared = regression.MODEL.build(data_of(family), spec_of(family))
    (likelihood,) = [item for item in (declared.reported or declared).items if isinstance(item, Likelihood)]
    response = likelihood.name.removesuffix("_obs")
    if any(item is likelihood for item in declared.items):
        model = built(with_container(declared, likelihood, response))

        def fitted_to(responses: Any) -> PyMC3Model:
            model.model[response].set_value(responses)
            return model
    else:
        model = built(declared)

        def fitted_to(responses: Any) -> PyMC3Model:
            return built(regression.MODEL.build(data_of(family, responses), spec_of(family)))

    prior = model.reported.draw_prior(fits, seed)
    return Simulated(model, fitted_to, response, prior, prior[f"{response}_obs"])


def built(declared: Declaration) -> PyMC3Model:
    """Return the model of a declaration."""
    with building():
        return PyMC3Model(pymc3_model(declared))


def with_container(declared: Declaration, likelihood: Likelihood, name: str) -> Declaration:
    """Put the responses into a container, whose numbers can be changed."""
    observed = likelihood.observed
    items = [item for item in declared.items if item is not likelihood]
    container = Container(name, observed.values, observed.dims)
    items += [container, replace(likelihood, observed=replace(observed, container=name))]
    return replace(declared, items=tuple(items))


class _Nobody:
    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        pass


def first(values: Any) -> Any:
    """Return the first number of a variable at each draw (draw, ...)."""
    return np.asarray(values).reshape(len(values), -1)[:, 0]


def calibrate(family: str, fits: int, seed: int = 8927, generator: str | None = None) -> dict[str, Uniformity]:
    """Return the uniformity of the ranks of each parameter, of a vector those of its first number.

    Parameters
    ----------
    family
        The family that is fitted.
    fits
        Number of fits.
    seed
        Decides truth and draws.
    generator
        Another family that simulates the responses: an error, which must be seen.
    """
    made = simulated(family, fits, seed)
    source = made if generator is None else simulated(generator, fits, seed)
    hidden = (*made.model.reported.helpers, f"{made.response}_obs")
    names = [name for name in made.model.reported.variables if name in source.truth and name not in hidden]
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for fit in range(fits):
        begin_run()
        sampled = nutpie.sample(made.fitted_to(source.responses[fit]), SPEC, fit, _Nobody())
        for name in names:
            kept[name].append(first(sampled.draws[name][0])[:: SPEC.draws // KEPT])
    return {name: uniformity(ranks(first(source.truth[name]), np.stack(kept[name]), seed), KEPT) for name in names}


def main() -> None:
    """Calibrate the families named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILY_TABLE))
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=8927)
    given = parser.parse_args()
    import_pymc3()
    for family in given.families:
        _print(family, calibrate(family, given.fits, given.seed).items())


def _print(family: str, found: Iterable[tuple[str, Uniformity]]) -> None:
    for name, one in found:
        print(
            f"{family:28} {name:14} p {one.p_value:.4f}  {one.below} of {one.expected:.1f} below {one.at:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

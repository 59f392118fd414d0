"""A PyMC3 model behind the protocol of engines (`bayesrun.engines.base.CompiledModel`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pymc3 as pm
from numpy.typing import NDArray

from bayesrun.engines.base import (
    ArrayBuffer,
    Block,
    LogDensity,
    MakeBuffer,
    ModelGraph,
    NormalFit,
    NormalSettings,
    StepSettings,
    TemperedDensity,
)
from bayesrun.engines.pymc3 import evaluate, log_density, predictive, steps, variational
from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.graph import graph_of
from bayesrun.engines.pymc3.log_density import PriorDensity
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.errors import Problem, check

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Vector = NDArray[np.float64]


class PyMC3Model:
    """What samplers and later steps need from a model.

    Parameters
    ----------
    model
        The model, built under `theano_setup.building`, whose test values are those of its initial point.
    """

    def __init__(self, model: pm.Model) -> None:
        self.model = model
        self._metadata = metadata(model)
        self._as_built = [variable.tag.test_value for variable in model.free_RVs]
        self._is_lent = False

    def begin_as_built(self) -> bool:
        """Take the initial point of the model as it was built; False where PyMC3 may have changed more than that."""
        for variable, value in zip(self.model.free_RVs, self._as_built, strict=True):
            variable.tag.test_value = value
        return not self._is_lent

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The free variables in the order of the vector."""
        return log_density.blocks_of(self.model)

    @cached_property
    def variables(self) -> dict[str, tuple[int, ...]]:
        """Shapes of free variables, imputed values and deterministics by name, on their own scale."""
        return {v.name: _shape(v) for v in evaluate.own_variables(self.model)}

    @property
    def deterministics(self) -> tuple[str, ...]:
        """Names of what is computed from free variables and data."""
        return tuple(v.name for v in self.model.deterministics)

    @cached_property
    def likelihoods(self) -> dict[str, tuple[int, ...]]:
        """Shape of each likelihood by name."""
        return {v.name: _shape(v) for v in self.model.observed_RVs}

    @property
    def helpers(self) -> frozenset[str]:
        """Helper variables of the sampler."""
        return frozenset(self._metadata.helpers)

    @cached_property
    def reported(self) -> PyMC3Model:
        """The model as users think of it."""
        return self if self._metadata.reported is None else PyMC3Model(self._metadata.reported)

    def labels(self) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """Return the labels of each dim and the dims of each variable."""
        model, own = self.model, self._metadata
        coords = {name: list(values) for name, values in {**model.coords, **own.coords}.items()}
        dims = {name: list(d) for name, d in {**model.RV_dims, **own.dims}.items() if d}
        for variable in [*model.unobserved_RVs, *model.observed_RVs]:
            shape = _shape(variable)
            if variable.name not in dims and shape:
                dims[variable.name] = [f"{variable.name}_dim_{i}" for i in range(len(shape))]
                coords.update({d: list(range(n)) for d, n in zip(dims[variable.name], shape, strict=True)})
        return coords, dims

    def observed_data(self) -> dict[str, Array]:
        """Return the data of each likelihood; missing values are NaN."""
        observed = {}
        for variable in self.model.observed_RVs:
            values, missing = np.array(variable.tag.test_value), self._absent.get(variable.name)
            observed[variable.name] = values if missing is None else np.where(missing, np.nan, values)
        return observed

    def graph(self) -> ModelGraph:
        """Return the graph of the reported model, without helpers."""
        shown = self.reported
        return graph_of(shown.model, shown.labels()[1], shown.helpers)

    def check_initial_point(self) -> dict[str, float]:
        """Return the log density of each variable and potential at the initial point; each must be finite."""
        model = self.model
        here = {v.name: np.asarray(v.tag.test_value)[None] for v in model.unobserved_RVs}
        check([problem for hidden in self._metadata.hidden for problem in hidden.problems_at(here)])
        with building():
            terms = {v.name: v.logpt for v in model.basic_RVs} | {p.name: p for p in model.potentials}
            densities = {name: float(np.sum(term.tag.test_value)) for name, term in terms.items()}
        check([self._no_density(name, value) for name, value in densities.items() if not np.isfinite(value)])
        return densities

    def begin_at(self, point: Vector) -> None:
        """Take a point (parameter) of all free variables, which are continuous, as the initial one."""
        for variable, block in zip(self.model.free_RVs, self.blocks, strict=True):
            share = point[block.begin : block.end].reshape(block.shape)
            variable.tag.test_value = np.asarray(share, dtype=variable.dtype)

    def _no_density(self, name: str, value: float) -> Problem:
        if name in {p.name for p in self.model.potentials}:
            message, hint = f"is {value} at the initial point", "set an `initval` of the priors where it is finite"
            return Problem(f"model.potentials.{name}", message, hint)
        what = "not a number" if value != value else "zero"
        if name in self.likelihoods:
            message = f"the likelihood of '{name}' is {what} at the initial point"
            hint = "the data are outside what the model allows there: check their range, or set `initval` of the priors"
            return Problem(f"model ({name})", message, hint)
        message = f"the prior density is {what} at the initial value"
        hint = "set an `initval` inside the support, or check the parameters"
        return Problem(f"model.priors.{evaluate.own_name(self.model[name])}", message, hint)

    @cached_property
    def _gradient(self) -> tuple[Any, Any, Any]:
        return log_density.gradient_graph(self.model)

    def missing_gradient(self) -> str | None:
        """Return why the log density has no gradient; None where it has one."""
        try:
            _ = self._gradient
        except Exception as error:  # operations report a missing gradient in many ways
            return f"the log density has no gradient ({type(error).__name__})"
        return None

    def log_density(self) -> LogDensity:
        """Compile the log density and its gradient."""
        return log_density.compile_log_density(self.model, self._gradient)

    def tempered_density(self) -> TemperedDensity:
        """Compile the log prior and the log likelihood."""
        return log_density.compile_tempered(self.model, self._missing)

    def constrain(self) -> Callable[[Vector], Arrays]:
        """Compile the map from points to variables."""
        return evaluate.compile_constrain(self.model)

    def unconstrain(self, draws: Arrays) -> Vector:
        """Return the points of draws of all free variables."""
        return evaluate.unconstrain(self.model, draws)

    def recover(self, draws: Arrays, seed: int) -> Arrays:
        """Add the variables that were summed out, unless the draws have them already, as those of the prior do."""
        recover = self._metadata.recover
        summed = set(self.reported.variables) - set(self.variables)
        if recover is None or (summed and summed <= set(draws)):
            return draws
        return {**draws, **recover(draws, np.random.default_rng(seed))}

    def flat_priors(self) -> list[str]:
        """Name the variables whose prior is flat."""
        return predictive.flat_priors(self.model)

    def draw_prior(self, draws: int, seed: int, make_buffer: MakeBuffer = ArrayBuffer) -> dict[str, Array]:
        """Draw every variable and likelihood from the prior."""
        together = self._metadata.together
        return predictive.draw_prior(self.model, draws, seed, self._missing, together, self._absent, make_buffer)

    def predict(
        self, names: Sequence[str], draws: Arrays, seed: int, make_buffer: MakeBuffer = ArrayBuffer
    ) -> tuple[Arrays, Mapping[str, Exception]]:
        """Draw likelihoods once per posterior draw."""
        return predictive.predict(self.model, names, draws, seed, self._metadata.together, make_buffer)

    def without_pointwise_terms(self, name: str) -> str | None:
        """Return the distribution of a likelihood that has no term per observation."""
        return predictive.without_pointwise_terms(self.model[name])

    def log_likelihood(
        self, names: Sequence[str], draws: Arrays, make_buffer: MakeBuffer = ArrayBuffer
    ) -> dict[str, Array]:
        """Evaluate the pointwise terms of likelihoods at every draw."""
        return predictive.log_likelihood(self.model, names, draws, self._absent, self._terms, make_buffer)

    def terms_given_others(self, draws: Arrays) -> Arrays:
        """Return the terms of observations given all others, where they differ from those given all variables."""
        return {} if self._metadata.terms is None else dict(self._metadata.terms(draws))

    def log_prior(self, draws: Arrays) -> Array:
        """Evaluate the log density of the priors at every draw."""
        return predictive.log_prior(self.model, draws, self._prior_density)

    @cached_property
    def _terms(self) -> predictive.PointwiseTerms:
        return predictive.PointwiseTerms(self.model)

    @cached_property
    def _prior_density(self) -> PriorDensity:
        return predictive.prior_density(self.model, self._missing, self.helpers)

    def check_steps(self, assigned: Mapping[str, str]) -> list[Problem]:
        """Return the problems of step methods that can't be assigned as configured."""
        return steps.check_steps(self.model, assigned)

    def step_sampler(self, settings: StepSettings, seed: int) -> steps.PyMC3Steps:
        """Assign a step method to each variable."""
        self._is_lent = True
        return steps.make_steps(self.model, settings, seed)

    def initial_points(self, init: str, seeds: Sequence[int]) -> Vector:
        """Return the points from which PyMC3's NUTS would start."""
        self._is_lent = True
        with self.model, compiling():
            points, _ = pm.init_nuts(init=init, chains=len(seeds), random_seed=seeds[0], progressbar=False)
        return np.stack([np.concatenate([np.ravel(point[b.name]) for b in self.blocks]) for point in points])

    def fit_normal(self, settings: NormalSettings, seed: int, on_step: Callable[[int], None]) -> NormalFit:
        """Fit a normal approximation."""
        self._is_lent = True
        return variational.fit_normal(self.model, settings, seed, on_step)

    @property
    def _missing(self) -> Mapping[str, NDArray[np.bool_]]:
        """Where each likelihood has imputed values, over its dims."""
        return self._metadata.missing

    @property
    def _absent(self) -> Mapping[str, NDArray[np.bool_]]:
        """Where each likelihood has no observed value, over its dims: imputed or not."""
        return {**self._metadata.missing, **self._metadata.unobserved}


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.tag.test_value.shape)

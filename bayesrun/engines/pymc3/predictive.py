"""Forward draws of a model: from its prior, and of its likelihoods at every draw; and the terms of its density there.

PyMC3 draws predictions one posterior draw at a time. Here the parameters of a likelihood are evaluated at every draw,
and its own random generator is then called once for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from pymc3.distributions.distribution import draw_values
from pymc3.util import is_transformed_name
from theano.graph.basic import Constant, Variable, ancestors, graph_inputs
from theano.graph.fg import MissingInputError

from bayesrun.engines.base import ArrayBuffer, DrawBuffer, MakeBuffer, MissingDraws
from bayesrun.engines.pymc3.compiled_functions import current_run
from bayesrun.engines.pymc3.declared_distributions import Modified, name_of
from bayesrun.engines.pymc3.evaluate import AtDraws, Compiled, at_draws, compile_at_draws, own_name, own_variables
from bayesrun.engines.pymc3.log_density import PriorDensity
from bayesrun.engines.pymc3.random_draws import Recipe, recipe
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.language.declaration import DrawnTogether
from bayesrun.language.distributions import family

Array = NDArray[Any]
Draws = Mapping[str, Array]
Missing = Mapping[str, NDArray[np.bool_]]

log = logging.getLogger("bayesrun.predictive")

_AT_ONCE = 250_000
"""Numbers that are drawn, or terms of a likelihood that are evaluated, at once."""
_CUT_AT_ONCE = 1_000_000
"""Numbers that are drawn at once within limits, for which the model's expressions are looked up again each time."""
_LARGE = 1_000
"""Numbers of a parameter from which on it is freed at once."""


@contextmanager
def lent_to_pymc3(rng: np.random.RandomState) -> Iterator[None]:
    """Let PyMC3's distributions draw from a generator.

    They use NumPy's global generator only: inside the block it has the state of the given one, and afterwards its own
    again. Nothing else in bayesrun draws from it or seeds it.
    """
    before = np.random.get_state()
    np.random.set_state(rng.get_state())
    try:
        yield
    finally:
        rng.set_state(np.random.get_state())
        np.random.set_state(before)


def draw_prior(
    model: pm.Model,
    draws: int,
    seed: int,
    missing: Missing,
    together: Sequence[DrawnTogether] = (),
    absent: Missing | None = None,
    make_buffer: MakeBuffer = ArrayBuffer,
) -> dict[str, Array]:
    """Draw every variable and likelihood (see `CompiledModel.draw_prior`).

    Variables are drawn in the model's order: `pm.sample_prior_predictive` uses that of a set of their names, which
    differs between processes.
    """
    rng, imputed = np.random.RandomState(seed), {v.name for v in model.missing_values}
    # what recurrences go along in spite of missing values is drawn with the series itself
    filled = {f"{name}_missing" for each in together for name in each.likelihoods if name in (absent or {})}
    behind = [model[name] for name in filled if name in model.named_vars]
    variables = [v for v in own_variables(model) if v.name not in imputed and not _depends(v, behind)]
    with building(), np.errstate(all="ignore"), lent_to_pymc3(rng):
        values = draw_values(variables, size=draws)
    drawn = {v.name: _each(np.asarray(found), v, draws) for v, found in zip(variables, values, strict=True)}
    simulated = [name for each in together for name in each.likelihoods]
    for each in together:
        try:
            drawn |= each.draw(drawn, np.random.default_rng(rng.randint(2**31)))
        except Exception as error:
            log.info("no prior draws of %s: %s", ", ".join(each.likelihoods), error, exc_info=True)
    for variable in model.observed_RVs:
        if variable.name in simulated:
            name = f"{variable.name}_missing"
            if absent is not None and variable.name in drawn and name in filled and name in model.named_vars:
                drawn[name] = drawn[variable.name][:, absent[variable.name]]
            continue
        # what another likelihood is computed from stays in memory
        used = any(other is not variable and _depends(other, [variable]) for other in model.observed_RVs)
        own_buffer = ArrayBuffer if used else make_buffer
        drawn |= _prior_predictive(model, variable, drawn, missing.get(variable.name), rng, own_buffer)
    return drawn


def _depends(variable: Any, others: Sequence[Any]) -> bool:
    """Return whether a variable is among others, or computed from one of them."""
    return bool(others) and not set(others).isdisjoint(ancestors([variable]))


def _each(values: Array, variable: Any, draws: int) -> Array:
    """Repeat what depends on no random variable at every draw; PyMC3 computes it once."""
    shape = variable.tag.test_value.shape
    return np.broadcast_to(values, (draws, *shape)) if values.shape == shape else values


def _prior_predictive(
    model: pm.Model,
    variable: Any,
    drawn: Draws,
    imputed: NDArray[np.bool_] | None,
    rng: np.random.RandomState,
    make_buffer: MakeBuffer,
) -> dict[str, Array]:
    """Draw a likelihood, and the values that would be imputed in it; nothing where it has no generator."""
    try:
        one_chain = {name: values[None] for name, values in drawn.items() if isinstance(values, np.ndarray)}
        found = _predict(model, variable, one_chain, rng, make_buffer if imputed is None else ArrayBuffer)
        predicted = found[0] if isinstance(found, np.ndarray) else found
    except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
        log.info("no prior draws of %s: %s", variable.name, error, exc_info=True)
        return {}
    own = {} if imputed is None else {f"{variable.name}_missing": predicted[:, imputed]}
    return {variable.name: predicted, **own}


def predict(
    model: pm.Model,
    names: Sequence[str],
    draws: Draws,
    seed: int,
    together: Sequence[DrawnTogether] = (),
    make_buffer: MakeBuffer = ArrayBuffer,
) -> tuple[dict[str, Array], dict[str, Exception]]:
    """Draw likelihoods once per draw of what they depend on (see `CompiledModel.predict`)."""
    rng = np.random.RandomState(seed % 2**32)
    predicted: dict[str, Array] = {}
    failed: dict[str, Exception] = {}
    simulated: list[str] = []
    for each in together:
        own = [name for name in names if name in each.likelihoods]
        simulated += own
        if not own:
            continue
        try:
            found = _simulated(each, draws, rng)
            predicted |= {name: _put(found[name], make_buffer) for name in own}
        except Exception as error:
            failed |= dict.fromkeys(own, error)
    for name in [name for name in names if name not in simulated]:
        try:
            predicted[name] = _predict(model, model[name], draws, rng, make_buffer)
        except MissingInputError:
            failed[name] = MissingDraws(name)
        except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
            failed[name] = error
    return predicted, failed


def _simulated(together: DrawnTogether, draws: Draws, rng: np.random.RandomState) -> dict[str, Array]:
    chains, length = next(iter(draws.values())).shape[:2]
    flat = {name: np.reshape(values, (chains * length, *values.shape[2:])) for name, values in draws.items()}
    found = together.draw(flat, np.random.default_rng(rng.randint(2**31)))
    return {name: values.reshape(chains, length, *values.shape[1:]) for name, values in found.items()}


def _put(found: Array, make_buffer: MakeBuffer) -> Array:
    """Put draws (chain, draw, ...) that are made at once into a buffer."""
    if make_buffer is ArrayBuffer:
        return found
    chains, length, *shape = found.shape
    place = make_buffer((chains, length), tuple(shape), found.dtype)
    place.fill(0, found.reshape(chains * length, *shape))
    return place.draws  # type: ignore[no-any-return]


def _predict(
    model: pm.Model, variable: Any, draws: Draws, rng: np.random.RandomState, make_buffer: MakeBuffer
) -> Array:
    distribution = variable.distribution
    if not isinstance(distribution, Modified):
        return _drawn_from(distribution, model, variable, draws, rng, make_buffer)
    if not distribution.cut:
        return _drawn_from(distribution.base, model, variable, draws, rng, make_buffer)

    names, wanted = list(distribution.cut), list(distribution.cut.values())
    shape, size = variable.tag.test_value.shape, next(iter(draws.values())).shape[:2]
    flat = {name: np.reshape(values, (1, size[0] * size[1], *values.shape[2:])) for name, values in draws.items()}
    generator = np.random.default_rng(rng.randint(2**31))

    def drawn() -> Iterator[tuple[int, Array]]:
        step = _draws_at_once(shape, _CUT_AT_ONCE)
        for begin in range(0, size[0] * size[1], step):
            some = {name: values[:, begin : begin + step] for name, values in flat.items()}
            limits = {n: found[0] for n, found in zip(names, at_draws(model, wanted, some), strict=True)}
            draw = partial(_drawn_from, distribution.base, model, variable, some, rng, ArrayBuffer)
            of_one_chain = partial(_reshaped, draw, (len(next(iter(limits.values()))), *shape))
            yield begin, np.asarray(distribution.draw(limits, of_one_chain, generator))

    return _gathered(drawn(), (size[0], size[1]), make_buffer)


def _reshaped(draw: Callable[[], Array], size: tuple[int, ...]) -> Array:
    return draw().reshape(size)


def _drawn_from(
    distribution: Any, model: pm.Model, variable: Any, draws: Draws, rng: np.random.RandomState, make_buffer: MakeBuffer
) -> Array:
    imputed = f"{variable.name}_missing" in draws
    own = recipe(distribution, variable if imputed else np.asarray(variable.tag.test_value))
    if own is not None:
        return _by_recipe(model, variable, own, draws, rng, make_buffer)
    parameters = _parameters(distribution)
    if parameters is None:
        return _put(_one_by_one(model, variable, draws, rng), make_buffer)
    return _all_at_once(model, variable, distribution, parameters, draws, rng, make_buffer)


def draw(distribution: str, parameters: Draws, shape: tuple[int, ...], seed: int) -> Array:
    """Draw from a distribution at many values of its parameters (see `Engine.draw`)."""
    rng = np.random.RandomState(seed % 2**32)
    size = (len(next(iter(parameters.values()))), *shape)
    with building(), theano.config.change_flags(compute_test_value="off"), lent_to_pymc3(rng):
        return np.asarray(getattr(pm, distribution).dist(**parameters, shape=size).random()).reshape(size)


def _parameters(distribution: Any) -> dict[str, Any] | None:
    """Return what the distribution can be rebuilt from; None where its draws are not made element by element."""
    known = family(name_of(distribution))
    if known is None or known.event or any(p.axes for p in known.parameters.values()):
        return None
    named = {name for group in known.required for alternatives in group for name in alternatives}
    chosen = {name for group in known.required for name in group[0]}
    names = [name for name in known.parameters if name in chosen or name not in named]
    found = {name: getattr(distribution, name, None) for name in names}
    if any(found[name] is None for name in chosen):
        return None
    return {name: value for name, value in found.items() if value is not None}


def _all_at_once(
    model: pm.Model,
    variable: Any,
    distribution: Any,
    parameters: Mapping[str, Any],
    draws: Draws,
    rng: np.random.RandomState,
    make_buffer: MakeBuffer,
) -> Array:
    shape = variable.tag.test_value.shape
    at = AtDraws(compile_at_draws(model, [tt.as_tensor_variable(p) for p in parameters.values()], draws), draws)

    def drawn() -> Iterator[tuple[int, Array]]:
        for begin, values in at.blocks(_draws_at_once(shape)):
            of = [v.reshape(len(v), *(1,) * (len(shape) - v.ndim + 1), *v.shape[1:]) for v in values]
            size = (len(of[0]), *shape)
            # test values of all draws, which nothing needs, would take longer than drawing
            with building(), theano.config.change_flags(compute_test_value="off"), lent_to_pymc3(rng):
                every = type(distribution).dist(**dict(zip(parameters, of, strict=True)), shape=size)
                yield begin, np.asarray(every.random()).reshape(size)
            _release(every)

    return _gathered(drawn(), at.size, make_buffer)


def _release(distribution: Any) -> None:
    """Free the large parameters of a distribution: it refers to itself, and would keep them for a while."""
    for variable in ancestors([value for value in vars(distribution).values() if isinstance(value, Variable)]):
        if isinstance(variable, Constant) and np.size(variable.data) > _LARGE:
            variable.data = np.empty(0)


def _by_recipe(
    model: pm.Model, variable: Any, own: Recipe, draws: Draws, rng: np.random.RandomState, make_buffer: MakeBuffer
) -> Array:
    shape = variable.tag.test_value.shape
    generator = np.random.default_rng(rng.randint(2**31))
    at = AtDraws(compile_at_draws(model, own.parameters, draws), draws)
    drawn = ((begin, own.draw(values, shape, generator)) for begin, values in at.blocks(_draws_at_once(shape)))
    return _gathered(drawn, at.size, make_buffer)


def _draws_at_once(shape: tuple[int, ...], numbers: int | None = None) -> int:
    return max(1, (numbers or _AT_ONCE) // max(1, int(np.prod(shape))))


def _gathered(drawn: Iterable[tuple[int, Array]], size: tuple[int, int], make_buffer: MakeBuffer) -> Array:
    """Put draws (draw, ...) into a buffer as they come, each part with the number of its first draw."""
    place: DrawBuffer | None = None
    for begin, values in drawn:
        place = place or make_buffer(size, values.shape[1:], values.dtype)
        place.fill(begin, values)
    assert place is not None
    return place.draws  # type: ignore[no-any-return]


def _one_by_one(model: pm.Model, variable: Any, draws: Draws, rng: np.random.RandomState) -> Array:
    chains, length = next(iter(draws.values())).shape[:2]
    points = [{n: v[index] for n, v in draws.items()} for index in np.ndindex(chains, length)]
    with model, building(), lent_to_pymc3(rng):
        drawn = pm.sample_posterior_predictive(
            points, samples=len(points), var_names=[variable.name], progressbar=False
        )[variable.name]
    return np.asarray(drawn).reshape(chains, length, *np.shape(drawn)[1:])


def flat_priors(model: pm.Model) -> list[str]:
    """Name the variables whose prior is flat, from which nothing can be drawn."""
    variables = [v for v in [*model.free_RVs, *model.deterministics] if hasattr(v, "distribution")]
    return [v.name for v in variables if isinstance(v.distribution, (pm.Flat, pm.HalfFlat))]


def without_pointwise_terms(variable: Any) -> str | None:
    """Return the distribution of a likelihood that has no term per observation; None where it has them."""
    with building():
        terms = variable.logp_elemwiset.tag.test_value.shape
    known, shape = family(name_of(variable.distribution)), variable.tag.test_value.shape
    # rows of a multivariate distribution have one term each
    jointly = known is not None and known.event == 1 and len(shape) > 1 and terms == shape[:-1]
    return None if terms == shape or jointly else name_of(variable.distribution)


class PointwiseTerms:
    """The pointwise terms of a model's likelihoods, compiled once per run: moment matching asks for them many times.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: pm.Model) -> None:
        self._model = model
        self._run = current_run()
        self._compiled: dict[tuple[tuple[str, ...], frozenset[str]], Compiled] = {}

    def of(self, names: Sequence[str], draws: Draws) -> Compiled:
        """Return the terms of some likelihoods as functions of what has draws."""
        if self._run != current_run():  # a later run may have given the functions other numbers
            self._run, self._compiled = current_run(), {}
        key = tuple(names), frozenset(draws)
        if key not in self._compiled:
            with building():
                terms = [self._model[name].logp_elemwiset for name in names]
            self._compiled[key] = compile_at_draws(self._model, terms, draws)
        return self._compiled[key]


def log_likelihood(
    model: pm.Model,
    names: Sequence[str],
    draws: Draws,
    missing: Missing,
    terms: PointwiseTerms,
    make_buffer: MakeBuffer = ArrayBuffer,
) -> dict[str, Array]:
    """Evaluate the pointwise terms of likelihoods at every draw (see `CompiledModel.log_likelihood`)."""
    if not names:
        return {}
    at, buffers = AtDraws(terms.of(names, draws), draws), dict[str, DrawBuffer]()
    each = max((model[name].tag.test_value.shape for name in names), key=np.prod)
    for begin, found in at.blocks(_draws_at_once(each)):
        for name, values in zip(names, found, strict=True):
            imputed = missing.get(name)
            if imputed is not None:
                # a vector has one term, of its observed elements
                jointly = values.ndim - 1 < imputed.ndim
                values[:, imputed.all(axis=-1) if jointly else imputed] = np.nan
            if name not in buffers:
                buffers[name] = make_buffer(at.size, values.shape[1:], values.dtype)
            buffers[name].fill(begin, values)
    return {name: place.draws for name, place in buffers.items()}


def log_prior(model: pm.Model, draws: Draws, density: PriorDensity) -> Array:
    """Evaluate the log density of the priors on their own scales at every draw (see `CompiledModel.log_prior`)."""
    found = density.at_all_draws(draws)
    return at_draws(model, [density.total], draws)[0] if found is None else found


def prior_density(model: pm.Model, missing: Missing, helpers: Collection[str]) -> PriorDensity:
    """Return the log density of the priors, without those of imputed values."""
    imputed = {f"{name}_missing" for name in missing}
    with building():
        priors = []
        for variable in model.free_RVs:
            if variable.name in imputed:
                continue
            own = own_name(variable)
            distribution = variable.distribution
            distribution = distribution.dist if is_transformed_name(variable.name) else distribution
            term = tt.sum(distribution.logp(model[own]))
            # a non-centred variable is computed from its helper
            made = [d for d in model.deterministics if own in helpers and own.startswith(f"{d.name}_")]
            if not any(one in model.free_RVs and one is not variable for one in graph_inputs([term, *made])):
                priors.append((distribution, model[own], term))
    return PriorDensity(priors)

"""Automatic differentiation variational inference: a normal approximation in the unconstrained space.

`q` maximises the evidence lower bound `ELBO(q) = E_q[log p(y, theta) - log q(theta)]` (Kucukelbir et al. 2017,
JMLR 18(14)). The optimizer's last steps jitter around the optimum; their mean over the second half of the fit does not
(Dhaka et al. 2020, arXiv:2009.00666), and is what is drawn from.

It is quick and often too narrow: the checks `elbo` (has it converged?) and `approximation` (how far is `q` from the
posterior?) judge it, and the draws carry `lp` and `log_q` for that.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bayesrun.errors import Problem, SamplingError
from bayesrun.inference import _chains
from bayesrun.inference.base import Monitor, Sampled, Sampler, SamplerSpec
from bayesrun.inference.theano_setup import compiling

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

log = logging.getLogger("bayesrun.sampling")

_METHODS = {"mean_field": "advi", "full_rank": "fullrank_advi"}


class AdviSpec(SamplerSpec):
    """Config of `method: advi`.

    Parameters
    ----------
    approximation
        `mean_field`: a normal distribution without correlations; `full_rank`: with all of them.
    iterations
        Steps of the optimizer.
    learning_rate
        Of the optimizer, `pm.adam`: PyMC3's default, `adagrad_window`, makes every sd some 8 % too large.
    """

    method: str = "advi"
    approximation: Literal["mean_field", "full_rank"] = "mean_field"
    iterations: Annotated[int, Field(ge=100)] = 30_000
    learning_rate: Annotated[float, Field(gt=0)] = 0.01

    def steps(self) -> int:
        """Count the optimizer's steps: one fit is made, whatever the number of chains."""
        return self.iterations


def sample(model: pm.Model, spec: AdviSpec, seed: int, monitor: Monitor) -> Sampled:
    """Fit the approximation, then draw from it; an interrupt ends the fit and draws from what it has come to.

    Parameters
    ----------
    model
        The model; all its free variables are continuous.
    spec
        The config section; `chains * draws` independent draws come from the one approximation.
    seed
        Decides the fit and every draw.
    monitor
        Told of each step of the optimizer, as a draw of chain 0.

    Returns
    -------
    Sampled
        With statistics `lp` and `log_q`, and record `elbo` (iteration).

    Raises
    ------
    SamplingError
        When the fit becomes not a number.
    """
    from bayesrun.inference._advi_normal import draw, normal_of

    fitting, drawing = _chains.chain_seeds(seed, 2)
    monitor.begin()
    fit = _Fit(monitor)
    approximation = fit.run(model, spec, fitting)
    normal = normal_of(approximation, model)
    draws, stats = draw(model, normal, (spec.chains, spec.draws), drawing)
    return Sampled(
        draws,
        stats,
        {v.name: f"ADVI ({spec.approximation})" for v in model.free_RVs},
        fit.first - fit.began,
        time.perf_counter() - fit.first,
        interrupted=fit.interrupted,
        records={"elbo": (("iteration",), -approximation.hist)},
    )


def check(model: pm.Model, spec: AdviSpec) -> list[Problem]:
    """Name the discrete variables, which have no normal approximation."""
    if not model.disc_vars:
        return []
    names = ", ".join(v.name for v in model.disc_vars)
    message = f"advi approximates continuous variables only, and these are discrete: {names}"
    return [Problem("sampler.method", message, "use sampler=nuts or sampler=smc, or sum them out")]


class _Fit:
    """One call of `pm.fit`, which ends early on a KeyboardInterrupt and remembers why."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.interrupted: Any = None
        self.began = self.first = time.perf_counter()
        self._done, self._averaged = 0, 0
        self._sums: list[Any] = []

    def run(self, model: pm.Model, spec: AdviSpec, seed: int) -> Any:
        import pymc3 as pm

        try:
            with model, compiling():
                approximation = pm.fit(
                    spec.iterations,
                    method=_METHODS[spec.approximation],
                    random_seed=seed,
                    progressbar=False,
                    callbacks=[self._tell, lambda fitted, losses, done: self._add(fitted, done, spec.iterations)],
                    obj_optimizer=pm.adam(learning_rate=spec.learning_rate),
                )
        except FloatingPointError as error:
            remedy = "lower sampler.learning_rate, or give the priors an `initval` where the density is not steep"
            raise SamplingError(f"advi: the approximation is not a number any more; {remedy}") from error
        if self._done < spec.iterations and self.interrupted is None:
            self.interrupted = "interrupt"  # PyMC3 keeps a Ctrl-C to itself
        for parameter, total in zip(approximation.params, self._sums, strict=False):
            parameter.set_value(total / self._averaged)
        return approximation

    def _tell(self, approximation: Any, losses: NDArray[Any], done: int) -> None:
        if done == 1:
            self.first = time.perf_counter()
        self._done = done
        try:
            self.monitor.draw(0, done, False, False)
        except KeyboardInterrupt as stop:
            self.interrupted = _chains.why(stop)
            raise

    def _add(self, approximation: Any, done: int, iterations: int) -> None:
        """Sum the parameters of the second half."""
        if done <= iterations // 2:
            return
        values = [parameter.get_value() for parameter in approximation.params]
        self._sums = [a + b for a, b in zip(self._sums, values, strict=True)] if self._sums else values
        self._averaged += 1


SAMPLER = Sampler(AdviSpec, sample, check)

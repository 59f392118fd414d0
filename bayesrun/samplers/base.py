"""What a sampler is, what it returns, and the config section `sampler`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError, fail
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Init = Literal[
    "auto",
    "adapt_diag",
    "jitter+adapt_diag",
    "advi",
    "advi+adapt_diag",
    "advi+adapt_diag_grad",
    "advi_map",
    "map",
    "adapt_full",
    "jitter+adapt_full",
]
Step = Literal[
    "NUTS",
    "HamiltonianMC",
    "Metropolis",
    "DEMetropolisZ",
    "Slice",
    "BinaryMetropolis",
    "BinaryGibbsMetropolis",
    "CategoricalGibbsMetropolis",
]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Interruption = Literal["interrupt", "max_seconds", "killed"]


class SamplerSpec(Section):
    """Keys of `sampler` that every method takes; a method's own spec extends this.

    Methods without warm-up take `tune`, too, so that one command line fits several methods; they ignore it.

    Parameters
    ----------
    method
        Registered name of the sampler.
    draws
        Kept draws per chain.
    tune
        Warm-up draws per chain, discarded.
    chains
        Number of chains.
    cores
        Processes; null = as many as chains and processors allow.
    max_seconds
        Stop sampling after this time and keep the draws so far; null = no limit.
    progress
        `auto` shows a line in a terminal and a plain line from time to time elsewhere.
    """

    method: str = "nuts"
    draws: Count = 1000
    tune: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    chains: Annotated[int, Field(ge=1, le=1000)] = 4
    cores: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    progress: Literal["auto"] | bool = "auto"

    def steps(self) -> int:
        """Count the steps that the monitor will be notified of, over all chains."""
        return self.chains * self.draws


class NutsSpec(SamplerSpec):
    """Config of `method: nuts`.

    Parameters
    ----------
    init
        Start and mass matrix: `auto` = bayesrun's choice, written to the log; or a name of PyMC3's.
    target_accept
        Mean acceptance that the step size is adapted to.
    max_treedepth
        Limit of the trajectory: at most 2 to this power steps per draw.
    step
        Step methods by variable, `{switchpoint: Metropolis}`.
    engine
        Whose NUTS moves what is continuous: `auto`, `nutpie` or `pymc3`.
    """

    tune: Annotated[int, Field(ge=0, le=100_000_000)] = 1000
    init: Init = "auto"
    target_accept: Annotated[float, Field(gt=0, lt=1)] = 0.8
    max_treedepth: Annotated[int, Field(ge=1, le=30)] = 10
    step: dict[str, Step] = Field(default={})
    engine: Literal["auto", "nutpie", "pymc3"] = "auto"

    def steps(self) -> int:
        """Count all draws, tuning included."""
        return self.chains * (self.draws + self.tune)


class Monitor(Protocol):
    """Notified of each draw. It may raise `KeyboardInterrupt` (max_seconds): the draws so far are kept."""

    def begin(self) -> None:
        """All is compiled, and the first draw is next."""

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Chain `chain` has made `done` draws in all (tuning draws count)."""


@dataclass(frozen=True)
class Sampled:
    """What a sampler made.

    Parameters
    ----------
    draws
        Name to array (chain, draw, ...) of every free variable and deterministic on its own scale (no `_log__`).
    stats
        Sampler statistics (chain, draw) under ArviZ's names: `diverging`, `energy`, `tree_depth`, `acceptance_rate`,
        `step_size`, `n_steps`, `lp`; empty for methods that have none.
    tuning_stats
        The same of the tuning draws; may be empty.
    steps
        Step method of each free variable.
    seconds_compile, seconds_sample
        Wall time of both parts.
    interrupted
        Why it stopped early (`interrupt`, `max_seconds`, `killed`); null when it ran to its end.
    died
        Chains whose process died, and how: their last draws, or the whole chain, may be missing.
    records
        Further statistics with dims of their own, `{name: (dims, values)}`: the ELBO over `iteration`.
    kept
        Numbers of the chains that are kept; empty where all are.
    attempt
        Attempt of the `DrawStore` that holds these draws.
    changes
        Changes of step size by chain, each with its kept draws that became warm-up and the divergences seen by then.
    """

    draws: Arrays
    stats: Arrays
    steps: Mapping[str, str]
    seconds_compile: float
    seconds_sample: float
    tuning_stats: Arrays = field(default_factory=dict)
    interrupted: Interruption | None = None
    died: Mapping[int, str] = field(default_factory=dict)
    records: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]] = field(default_factory=dict)
    kept: Sequence[int] = ()
    attempt: int = 1
    changes: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of chains and of draws per chain."""
        chains, draws = next(iter(self.draws.values())).shape[:2]
        return chains, draws

    def require_whole(self) -> None:
        """Refuse what ended early, for a fit of many, which counts only if it ran to its end.

        Raises
        ------
        KeyboardInterrupt
            When it was interrupted.
        SamplingError
            When its time was up, or the process of a chain has died.
        """
        if self.interrupted == "max_seconds":
            raise SamplingError("sampler.max_seconds was reached before its last draw; allow more, or set it to null")
        if self.interrupted:
            raise KeyboardInterrupt
        if self.died:
            raise SamplingError(f"the process of a chain {next(iter(self.died.values()))}")


@dataclass(frozen=True)
class Sampler:
    """A registered sampler.

    Parameters
    ----------
    spec
        The section's class: `SamplerSpec` with the method's own keys.
    sample
        `(model, spec, seed, monitor) -> Sampled`. Raises `SamplingError`.
    check
        `(model, spec) -> problems`: why this method can't sample this model, before a run leaves anything behind.
    keeps_draws
        Whether draws come one by one, and go to disk as they come: `sample` then takes a fifth argument, a `DrawStore`.
    extend
        `(model, spec, seed, monitor, store, earlier) -> Sampled`: makes the draws of one run of `spec.draws` per chain,
        whose first ones are those of `earlier`, an `EarlierDraws`; null where that can't be.
    not_extendable
        `(model, spec) -> reason` why no draws can be added to those of this model; null where they can.
    judged_as
        Method whose checks apply to the draws, such as `nuts` for Markov chains; null = the sampler's own name.
    """

    spec: type[SamplerSpec]
    sample: Callable[..., Sampled]
    check: Callable[[CompiledModel, Any], list[Problem]] = lambda model, spec: []
    judged_as: str | None = None
    keeps_draws: bool = False
    extend: Callable[..., Sampled] | None = None
    not_extendable: Callable[[CompiledModel, Any], str | None] = lambda model, spec: (
        "its draws are made all at once, not one after another"
    )


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    "bayesrun.samplers",
    "SAMPLER",
    Sampler,
    others=("chains", "draw_store", "earlier", "initial_points", "minor_modes", "monitors", "nutpie", "smaller_steps"),
)

__all__ = ["SAMPLERS", "Init", "Monitor", "NutsSpec", "Sampled", "Sampler", "SamplerSpec"]


def prior_draws(model: CompiledModel, draws: int, seed: int) -> Mapping[str, NDArray[Any]]:
    """Draw from the prior (see `CompiledModel.draw_prior`), for a sampler that needs them.

    Raises
    ------
    UserError
        When there are no draws.
    """
    try:
        return model.draw_prior(draws, seed)
    except Exception as error:  # an engine raises whatever a distribution's generator raises
        message = f"this method needs draws from the prior, but drawing failed: {why_no_draws(model, error)}"
        raise fail("sampler.method", message, "give it a proper prior, or use sampler=nuts") from error


def why_no_draws(model: CompiledModel, error: Exception) -> str:
    """Return why a prior could not be drawn from."""
    flat = model.flat_priors()
    return f"'{flat[0]}' has a flat prior" if flat else f"{type(error).__name__}: {error}"


def check_proper(model: CompiledModel) -> list[Problem]:
    """Name the flat priors, for a sampler that draws from the prior."""
    flat = model.flat_priors()
    message = f"this method draws from the prior, but these variables have a flat prior: {', '.join(flat)}"
    return [Problem("sampler.method", message, "give them a proper prior, or use sampler=nuts")] if flat else []

"""What an engine is: the library that holds a model, evaluates its log density and draws from it.

Samplers, predictions and reports speak this protocol only; what an engine is made of stays in its own folder. All
points are float64 vectors over `parameter`: the model's free variables, each on its unconstrained scale and in
C order, one after another as `blocks` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    from bayesrun.language.declaration import Declaration


Vector = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


class EngineSpec(Section):
    """Config section `engine`.

    Parameters
    ----------
    name
        Registered name of the engine.
    patches
        Changes to the engine's libraries that are switched on: `all`, `none` or a list of names (docs/speed.md).
    """

    name: str = "pymc3"
    patches: Literal["all", "none"] | list[str] = "all"


@dataclass(frozen=True)
class Block:
    """Position of one free variable in the vector: elements `begin` to `end`, in C order, of `shape`."""

    name: str
    begin: int
    end: int
    shape: tuple[int, ...]
    discrete: bool = False


@dataclass(frozen=True)
class LogDensity:
    """The compiled log density of a model whose free variables are all continuous.

    Parameters
    ----------
    blocks
        The free variables in the order of the vector.
    initial_point
        The model's own initial values (parameter).
    evaluate
        `(point) -> (log density, gradient)` of a vector (parameter). The gradient's memory is used again by the next
        call. A point where linear algebra fails has log density -inf.
    """

    blocks: tuple[Block, ...]
    initial_point: Vector
    evaluate: Callable[[Vector], tuple[float, Vector]]

    @property
    def size(self) -> int:
        """Number of unconstrained parameters."""
        return self.blocks[-1].end


@dataclass(frozen=True)
class TemperedDensity:
    """Prior and likelihood separately, for samplers that move from one to the other.

    Parameters
    ----------
    evaluate
        `(points) -> (log prior, log likelihood)`, both (particle,), of points (particle, parameter); what is not a
        number is -inf. Imputed values belong to the prior, potentials to the likelihood.
    discrete
        Which parameters are whole numbers (parameter): the cell [k, k + 1) represents k.
    """

    evaluate: Callable[[Vector], tuple[Vector, Vector]]
    discrete: NDArray[np.bool_]

    def whole(self, points: Vector) -> Vector:
        """Return points (..., parameter) with the whole numbers that their cells represent."""
        return np.where(self.discrete, np.floor(points), points)


@dataclass(frozen=True)
class StepSettings:
    """How an engine's own step methods sample.

    Parameters
    ----------
    tune, chains
        Tuning draws per chain, and chains.
    assigned
        Step method by variable; the engine chooses the others.
    init
        Initial points and mass matrix of NUTS where it moves every variable, by PyMC3's names.
    target_accept, max_treedepth
        Of NUTS.
    """

    tune: int
    chains: int
    assigned: Mapping[str, str]
    init: str
    target_accept: float
    max_treedepth: int


class DrawBuffer(Protocol):
    """Where an engine puts the draws of one likelihood, block by block."""

    @property
    def draws(self) -> Any:
        """All draws (chain, draw, ...): an array, or what reads one piece by piece."""

    def fill(self, first: int, values: NDArray[Any]) -> None:
        """Put the draws (draw, ...) from number `first` of all chains on."""


class ArrayBuffer:
    """A buffer in memory.

    Parameters
    ----------
    size
        Numbers of chains and draws.
    shape
        Of one draw.
    dtype
        Type of the values.
    """

    def __init__(self, size: tuple[int, int], shape: tuple[int, ...], dtype: Any) -> None:
        self.draws: NDArray[Any] = np.empty((*size, *shape), dtype)
        self._flat = self.draws.reshape(size[0] * size[1], *shape)

    def fill(self, first: int, values: NDArray[Any]) -> None:
        """Put the draws (draw, ...) from number `first` of all chains on."""
        self._flat[first : first + len(values)] = values


MakeBuffer = Callable[[tuple[int, int], tuple[int, ...], Any], DrawBuffer]
"""`(numbers of chains and draws, shape of a draw, type) -> buffer` for the draws of one likelihood."""


class MissingDraws(Exception):
    """A likelihood depends on a variable without draws."""


class StepChain(Protocol):
    """One chain of step methods."""

    def advance(self) -> tuple[Arrays, Mapping[str, float]]:
        """Make the next draw; return its variables on their own scale, and its statistics under ArviZ's names."""

    def state(self) -> Arrays:
        """Return what the chain continues from: position, step size, mass matrix and random state. Tuning is over."""

    def shrink_steps(self, factor: float) -> None:
        """Multiply the step size of NUTS; tuning is over, or its last draw is made."""


class StepSampler(Protocol):
    """An engine's step methods, compiled and ready."""

    @property
    def steps(self) -> Mapping[str, str]:
        """Name of the step method of each free variable, on the variable's own scale."""

    @property
    def types(self) -> Mapping[str, str]:
        """Type of each variable's values, by NumPy's name."""

    @property
    def keeps_state(self) -> bool:
        """Whether the state of a chain can be stored: only that of NUTS which moves all variables."""

    def chain(self, number: int, seed: int, state: Arrays | None = None) -> StepChain:
        """Begin a chain, as if it were the first of this process.

        Parameters
        ----------
        number
            Of the chain.
        seed
            Decides every draw.
        state
            What `StepChain.state` returned: the chain continues from there, tuned, and makes the same draws that the
            other one would have made.
        """


@dataclass(frozen=True)
class NormalSettings:
    """How a normal approximation is fitted: correlations or not, steps of the optimizer, and its learning rate."""

    full_rank: bool
    iterations: int
    learning_rate: float


@dataclass(frozen=True)
class NormalFit:
    """A fitted normal distribution of the unconstrained parameters.

    Parameters
    ----------
    mean
        Over parameter.
    factor
        Lower triangular Cholesky factor of the covariance (parameter, parameter).
    elbo
        Evidence lower bound at each step of the optimizer (iteration).
    """

    mean: Vector
    factor: Vector
    elbo: Vector


@dataclass(frozen=True)
class GraphNode:
    """A variable of a model's graph.

    Parameters
    ----------
    name
        Its name.
    kind
        What it is.
    distribution
        Name of its distribution; empty for data and deterministics.
    dims
        Named dims with sizes, as in `school (8)`; empty for a scalar. Nodes of the same dims share a plate.
    discrete
        Whether its values are whole numbers.
    """

    name: str
    kind: Literal["free", "observed", "deterministic", "potential", "data"]
    distribution: str = ""
    dims: tuple[str, ...] = ()
    discrete: bool = False


@dataclass(frozen=True)
class ModelGraph:
    """Variables and the edges between them, from parent to child."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[str, str], ...]


class CompiledModel(Protocol):
    """A model as an engine holds it. What takes long to compile is compiled on first use."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The free variables in the order of the vector."""

    @property
    def variables(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of free variables, imputed values and deterministics by name, on their own scale."""

    @property
    def deterministics(self) -> tuple[str, ...]:
        """Names of what is computed from free variables and data."""

    @property
    def likelihoods(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each likelihood by name."""

    @property
    def helpers(self) -> frozenset[str]:
        """Helper variables of the sampler: kept out of summaries and files."""

    @property
    def reported(self) -> CompiledModel:
        """The model as users think of it, where the one that is sampled is another form of it; else this one."""

    def labels(self) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """Return the labels of each dim and the dims of each variable."""

    def observed_data(self) -> Arrays:
        """Return the data of each likelihood; missing values are NaN."""

    def graph(self) -> ModelGraph:
        """Return the graph of the reported model, without helpers."""

    def check_initial_point(self) -> dict[str, float]:
        """Return the log density of each variable and potential at the initial point.

        Raises
        ------
        UserError
            One problem per variable or potential whose density is zero or not a number there.
        """

    def begin_at(self, point: Vector) -> None:
        """Take a point (parameter) of all free variables, which are continuous, as the initial one."""

    def missing_gradient(self) -> str | None:
        """Return why the log density has no gradient; None where it has one."""

    def log_density(self) -> LogDensity:
        """Compile the log density and its gradient; all free variables are continuous."""

    def tempered_density(self) -> TemperedDensity:
        """Compile the log prior and the log likelihood."""

    def constrain(self) -> Callable[[Vector], Arrays]:
        """Compile the map from points to variables.

        Returns
        -------
        callable
            `(points) -> variables`: from points (chain, draw, parameter) to the arrays (chain, draw, ...) of all
            `variables`.
        """

    def unconstrain(self, draws: Arrays) -> Vector:
        """Return the points (draw, parameter) of draws (draw, ...) of all free variables on their own scale."""

    def recover(self, draws: Arrays, seed: int) -> Arrays:
        """Add the variables that were summed out to draws (chain, draw, ...), drawn from their conditionals."""

    def flat_priors(self) -> list[str]:
        """Name the variables whose prior is flat, from which nothing can be drawn."""

    def draw_prior(self, draws: int, seed: int, make_buffer: MakeBuffer = ArrayBuffer) -> Arrays:
        """Draw every variable and likelihood from the prior.

        Parameters
        ----------
        draws
            How many.
        seed
            Decides them.
        make_buffer
            Makes the buffer of each likelihood, of one chain.

        Returns
        -------
        dict
            Name to array (draw, ...), or to what a buffer returns in place of one, over (1, draw, ...);
            `NAME_missing` are the imputed places of `NAME`. A likelihood that can't be drawn from is left out.

        Raises
        ------
        Exception
            Whatever the generator of a distribution raises; a flat prior has none.
        """

    def predict(
        self, names: Sequence[str], draws: Arrays, seed: int, make_buffer: MakeBuffer = ArrayBuffer
    ) -> tuple[Arrays, Mapping[str, Exception]]:
        """Draw likelihoods once per posterior draw.

        Parameters
        ----------
        names
            The likelihoods.
        draws
            Name to array (chain, draw, ...) of free variables and deterministics.
        seed
            Decides the predictions.
        make_buffer
            Makes the buffer of the predictions of each likelihood.

        Returns
        -------
        predicted : dict
            Name to array (chain, draw, ...) over the likelihood's dims.
        failed : dict
            Why each of the others could not be drawn: `MissingDraws`, or what the generator raised.
        """

    def without_pointwise_terms(self, name: str) -> str | None:
        """Return the distribution of a likelihood that has no term per observation; None where it has them."""

    def log_likelihood(self, names: Sequence[str], draws: Arrays, make_buffer: MakeBuffer = ArrayBuffer) -> Arrays:
        """Evaluate the pointwise terms of likelihoods at every draw (chain, draw, ...); imputed points are NaN.

        Each likelihood's terms are put into a buffer of their own.
        """

    def terms_given_others(self, draws: Arrays) -> Arrays:
        """Return the log likelihood of each observation given all others, at every draw (chain, draw, ...).

        Returns
        -------
        dict
            By likelihood; those of which it is the density given all variables of the model are left out. Others
            depend on variables of a few observations, which were summed out.
        """

    def log_prior(self, draws: Arrays) -> NDArray[Any]:
        """Evaluate the log density of the priors, on their own scales (without Jacobians), at each draw (chain, draw).

        Only priors that depend on no other parameter count: the distribution of group effects, given their mean and
        scale, is part of the model, and power-scaling leaves it as it is (doi:10.1007/s11222-023-10366-5). Imputed
        values belong to the likelihood.
        """

    def check_steps(self, assigned: Mapping[str, str]) -> list[Problem]:
        """Name the variables of `sampler.step` that the model lacks, and the steps that can't move theirs."""

    def step_sampler(self, settings: StepSettings, seed: int) -> StepSampler:
        """Assign a step method to each variable and compile them; the seed decides the jitter of initial points."""

    def initial_points(self, init: str, seeds: Sequence[int]) -> Vector:
        """Return the points (chain, parameter) from which the engine's NUTS would start under `init`."""

    def fit_normal(self, settings: NormalSettings, seed: int, on_step: Callable[[int], None]) -> NormalFit:
        """Fit a normal approximation by maximizing the evidence lower bound.

        Parameters
        ----------
        settings
            How.
        seed
            Decides the fit.
        on_step
            Called with the number of each step of the optimizer; its `KeyboardInterrupt` ends the fit.

        Returns
        -------
        NormalFit
            Mean and covariance are those of the parameters' mean over the second half of the fit.

        Raises
        ------
        SamplingError
            When the fit becomes NaN.
        """


@runtime_checkable
class Engine(Protocol):
    """A registered engine."""

    @property
    def patches(self) -> tuple[str, ...]:
        """Names of the changes to its libraries that can be switched."""

    def set_up(self, patches: Literal["all", "none"] | Sequence[str] = "all") -> None:
        """Import the engine's libraries and switch patches; called before anything else, once per run."""

    def compile(self, declared: Declaration) -> CompiledModel:
        """Build the model of a declaration."""

    def draw(self, distribution: str, parameters: Arrays, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
        """Draw from a distribution without a model.

        Parameters
        ----------
        distribution
            Its name; one draw of it is a single number.
        parameters
            Name to array (draw, ...).
        shape
            Further axes of the result, which the parameters have, too.
        seed
            Decides the draws.

        Returns
        -------
        ndarray
            Over (draw, *shape).
        """

    def begin_run(self) -> None:
        """From here on, functions that earlier runs of this process compiled may be used with other numbers."""

    def compiler(self) -> str:
        """Return the compiler that is used; empty when there is none."""


ENGINES: Registry[Engine] = Registry("engine", "bayesrun.engines", "ENGINE", Engine)  # type: ignore[type-abstract]


def check_engine(spec: EngineSpec) -> list[Problem]:
    """Return the problems of an engine that is not registered, and of patches that it does not have."""
    try:
        engine = ENGINES.load(spec.name, "engine.name")
    except UserError as error:
        return list(error.problems)
    chosen = [] if isinstance(spec.patches, str) else spec.patches
    return [
        Problem(f"engine.patches[{i}]", f"unknown patch '{name}'", did_you_mean(name, engine.patches))
        for i, name in enumerate(chosen)
        if name not in engine.patches
    ]


__all__ = [
    "ENGINES",
    "ArrayBuffer",
    "Block",
    "CompiledModel",
    "DrawBuffer",
    "Engine",
    "EngineSpec",
    "GraphNode",
    "LogDensity",
    "MakeBuffer",
    "MissingDraws",
    "ModelGraph",
    "NormalFit",
    "NormalSettings",
    "StepChain",
    "StepSampler",
    "StepSettings",
    "TemperedDensity",
    "check_engine",
]

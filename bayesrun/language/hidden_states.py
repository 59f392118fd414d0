"""The states of hidden Markov chains, drawn given all rows, and new series of them.

Given the parameters, states are drawn from the last row backwards, from `p(s_t | s_{t+1}, y_1, ..., y_t)` (Scott 2002,
doi:10.1198/016214502753479464); the path of Viterbi is the most probable one of all (Rabiner 1989,
doi:10.1109/5.18626). `hidden_markov` has the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, check
from bayesrun.language.declaration import Container, Declaration
from bayesrun.language.densities.base import choose
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.generators import generator
from bayesrun.language.hidden_markov import ROUNDING, HiddenMarkov
from bayesrun.language.recurrence_draws import NotSimulated
from bayesrun.language.values import Value, node_of

Array = NDArray[Any]

_AT_ONCE = 4_000_000
"""Numbers that are held at once while states are drawn."""


@dataclass(frozen=True)
class HiddenStates:
    """Draws of the hidden states, and of new series, of the hidden Markov chains of a model.

    Parameters
    ----------
    chains
        The chains.
    declared
        The model.
    """

    chains: tuple[HiddenMarkov, ...]
    declared: Declaration

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Names of the likelihoods."""
        return tuple(chain.name for chain in self.chains)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dims of what is drawn afterwards."""
        return {f"{chain.name}_{what}": chain.dims for chain in self.chains for what in ("state", "path")}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is drawn afterwards."""
        return {f"{chain.name}_{what}": chain.shape for chain in self.chains for what in ("state", "path")}

    @property
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dims that nothing else has."""
        return {}

    def recover(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw the states, and find the most probable path, at draws (chain, draw, ...)."""
        size = next(iter(draws.values())).shape[:2]
        flat = {name: np.reshape(values, (size[0] * size[1], *values.shape[2:])) for name, values in draws.items()}
        found: dict[str, Array] = {}
        check(list(self.problems_at({name: values[:: len(values) // 100 + 1] for name, values in flat.items()})))
        for chain in self.chains:
            parts = [self._states(chain, some, rng) for some in self._batches(chain, flat)]
            for what, place in (("state", 0), ("path", 1)):
                whole = np.concatenate([part[place] for part in parts])
                found[f"{chain.name}_{what}"] = whole.reshape(*size, *chain.shape)
        return found

    def draw(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw new series of each likelihood at draws (draw, ...)."""
        found: dict[str, Array] = {}
        for chain in self.chains:
            parts = [self._series(chain, some, rng) for some in self._batches(chain, draws)]
            found[chain.name] = np.concatenate(parts)
        return found

    def problems_at(self, draws: Mapping[str, Array]) -> Iterator[Problem]:
        """Find chains whose probabilities do not sum to 1 at draws (draw, ...)."""
        for chain in self.chains:
            for what, shares in zip(("initial", "transition"), self._chain(chain, draws), strict=True):
                sums = shares.sum(axis=-1)
                if np.abs(sums - 1.0).max(initial=0.0) > ROUNDING:
                    worst = float(np.ravel(sums)[np.argmax(np.abs(np.ravel(sums) - 1.0))])
                    hint = "transition[i, j] is the probability from state i to state j; stack(a, b) makes a last axis"
                    message = f"the probabilities of a state do not sum to 1 (one sums to {worst:.6g})"
                    yield Problem(f"model.likelihood.{chain.name}.{what}", message, hint)

    def _batches(self, chain: HiddenMarkov, draws: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        count = len(next(iter(draws.values())))
        step = max(1, _AT_ONCE // (int(np.prod(chain.shape)) * len(chain.initial)))
        for begin in range(0, count, step):
            yield {name: values[begin : begin + step] for name, values in draws.items()}

    def _values(self, values: Sequence[Value], draws: Mapping[str, Array]) -> list[Array]:
        containers = {i.name: i.numbers for i in self.declared.items if isinstance(i, Container)}
        return evaluate_at_draws([node_of(value) for value in values], draws.__getitem__, containers)

    def _chain(self, chain: HiddenMarkov, draws: Mapping[str, Array]) -> tuple[Array, Array]:
        """Return initial probabilities (draw, series..., 1, to) and transition (draw, series..., row, from, to)."""
        size, ndim = len(chain.initial), len(chain.shape)
        cells = [*chain.initial, *(cell for row in chain.transition for cell in row)]
        found = [a.reshape(len(a), *(1,) * (ndim + 1 - a.ndim), *a.shape[1:]) for a in self._values(cells, draws)]
        initial = np.stack(np.broadcast_arrays(*found[:size]), axis=-1)
        transition = np.stack(np.broadcast_arrays(*found[size:]), axis=-1)
        return initial, transition.reshape(*transition.shape[:-1], size, size)

    def _states(self, chain: HiddenMarkov, draws: Mapping[str, Array], rng: np.random.Generator) -> tuple[Array, Array]:
        count, size, rows = len(next(iter(draws.values()))), len(chain.initial), chain.shape[-1]
        shape = (count, *chain.shape)
        logs = np.stack([np.broadcast_to(a, shape) for a in self._values(chain.logs, draws)], axis=-1)
        densities = np.exp(logs - logs.max(axis=-1, keepdims=True))
        initial, transition = self._chain(chain, draws)
        shares, best = np.empty(densities.shape), np.empty(densities.shape)
        came_from = np.empty(densities.shape, dtype=np.int64)
        with np.errstate(divide="ignore"):
            log_densities, log_transition = np.log(densities), np.log(transition)
            for t in range(rows):
                if t:
                    of_row = _row(transition, t)
                    expected = np.einsum("...j,...jk->...k", shares[..., t - 1, :], of_row)
                    reached = best[..., t - 1, :, None] + _row(log_transition, t)
                    came_from[..., t, :] = reached.argmax(axis=-2)
                    best[..., t, :] = reached.max(axis=-2) + log_densities[..., t, :]
                else:
                    expected = np.broadcast_to(initial[..., 0, :], shares[..., 0, :].shape)
                    best[..., 0, :] = np.log(expected) + log_densities[..., 0, :]
                weights = expected * densities[..., t, :]
                shares[..., t, :] = weights / weights.sum(axis=-1, keepdims=True)
        states, path = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
        states[..., -1] = choose(shares[..., -1, :], rng)
        path[..., -1] = best[..., -1, :].argmax(axis=-1)
        for t in reversed(range(rows - 1)):
            of_row = np.broadcast_to(_row(transition, t + 1), (*states.shape[:-1], size, size))
            to_next = np.take_along_axis(of_row, states[..., t + 1, None, None], axis=-1)[..., 0]
            states[..., t] = choose(shares[..., t, :] * to_next, rng)
            path[..., t] = np.take_along_axis(came_from[..., t + 1, :], path[..., t + 1, None], axis=-1)[..., 0]
        return states, path

    def _series(self, chain: HiddenMarkov, draws: Mapping[str, Array], rng: np.random.Generator) -> Array:
        count, size, rows = len(next(iter(draws.values()))), len(chain.initial), chain.shape[-1]
        shape = (count, *chain.shape)
        initial, transition = self._chain(chain, draws)
        states = np.empty(shape, dtype=np.int64)
        states[..., 0] = choose(np.broadcast_to(initial[..., 0, :], (*shape[:-1], size)), rng)
        for t in range(1, rows):
            of_row = np.broadcast_to(_row(transition, t), (*shape[:-1], size, size))
            states[..., t] = choose(np.take_along_axis(of_row, states[..., t - 1, None, None], axis=-2)[..., 0, :], rng)
        emission = chain.emissions[0]
        draw = generator(emission.family)
        if draw is None:
            raise NotSimulated(f"{emission.family} has no draws here")
        made: Array | None = None
        for k, parameters in enumerate(emission.parameters):
            found = dict(zip(parameters, self._values(list(parameters.values()), draws), strict=True))
            full = {name: np.broadcast_to(a, (count, *a.shape[1:])) for name, a in found.items()}
            values = np.broadcast_to(draw(full, chain.shape, rng), shape)
            made = values if made is None else np.where(states == k, values, made)
        assert made is not None
        return made


def _row(transition: Array, t: int) -> Array:
    """Return the transition to a row, of (..., row, from, to)."""
    return transition[..., t if transition.shape[-3] > 1 else 0, :, :]

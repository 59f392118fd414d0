"""One chain of nutpie's NUTS over a compiled log density."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.inference._board import Board

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.inference._gradient import LogDensity

    Shifted = Callable[[NDArray[Any], NDArray[Any]], tuple[float, NDArray[Any]]]

# nutpie's names of statistics by ArviZ's.
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "tree_depth": "depth",
    "acceptance_rate": "mean_tree_accept",
    "step_size": "step_size",
    "n_steps": "n_steps",
    "lp": "logp",
}
_POLL_SECONDS = 0.05
_POLLS_A_LOOK = 10
"""How many polls pass between two counts of divergences: counting copies all statistics so far."""


@dataclass(frozen=True)
class Settings:
    """What every chain of a run has in common.

    `sampler`'s keys, whether the mass matrix knows correlations, and the linear map from the chain's coordinates.
    """

    draws: int
    tune: int
    target_accept: float
    max_treedepth: int
    correlated: bool
    coordinates: NDArray[Any] | None = None


def run_chain(
    chain: int,
    density: LogDensity,
    start: NDArray[Any],
    seed: int,
    settings: Settings,
    board: Board,
    go_on: Callable[[], bool],
) -> Mapping[str, NDArray[Any]]:
    """Sample one chain; draws and progress go to the board as they come.

    Parameters
    ----------
    chain
        Its row on the board.
    density
        `(point) -> (log density, gradient)`; only this chain's thread calls it.
    start
        First point (parameter).
    seed
        Decides the chain, bit for bit.
    settings
        The run's settings.
    board
        Where draws and progress are written.
    go_on
        Asked now and then in this thread; False ends the chain and keeps its draws.

    Returns
    -------
    dict
        ArviZ's name to array (draw) of each statistic, tuning draws first.
    """
    import nutpie

    finished = threading.Event()
    mapped = settings.coordinates
    model = _model(density, start, mapped, _Recorder(board, chain, settings.tune, finished, mapped))
    sampler = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=1,
        cores=1,
        seed=seed,
        target_accept=settings.target_accept,
        maxdepth=settings.max_treedepth,
        low_rank_modified_mass_matrix=settings.correlated,
        progress_bar=False,
        return_raw_trace=True,
        blocking=False,
    )
    try:
        complete = _watch(sampler, finished, board, chain, go_on)
    except BaseException:
        sampler.cancel()
        raise
    return _stats(sampler.wait() if complete else sampler.abort())


def _watch(sampler: Any, finished: threading.Event, board: Board, chain: int, go_on: Callable[[], bool]) -> bool:
    """Wait for the end of the chain; return whether it came to it."""
    polls = 0
    try:
        while not finished.wait(_POLL_SECONDS) and not sampler.is_finished:
            polls += 1
            if polls % _POLLS_A_LOOK == 0:
                board.diverging[chain] = _divergences(sampler)
            if not go_on():
                return False
    except KeyboardInterrupt:
        board.stop[0] = 1
        return False
    return True


class _Recorder:
    """Called with every point of the chain: writes it to the board."""

    def __init__(
        self, board: Board, chain: int, tune: int, finished: threading.Event, mapped: NDArray[Any] | None
    ) -> None:
        self._board, self._chain, self._tune, self._finished = board, chain, tune, finished
        self._shift: NDArray[Any] | float = 0.0
        self._map = mapped

    def moved(self, shift: NDArray[Any]) -> None:
        self._shift = shift

    def __call__(self, point: NDArray[Any]) -> dict[str, NDArray[Any]]:
        import numpy as np

        board, row = self._board, int(self._board.done[self._chain]) - self._tune
        if row >= 0:
            moved = point if self._map is None else self._map @ point
            np.add(moved, self._shift, out=board.points[self._chain, row])
        board.done[self._chain] += 1
        if row + 1 == board.points.shape[1]:
            self._finished.set()
        return _NOTHING


_NOTHING: dict[str, NDArray[Any]] = {}


def _moved(density: LogDensity) -> Shifted:
    return lambda point, shift: density(point + shift)


def _mapped(density: LogDensity, mapped: NDArray[Any]) -> Shifted:
    """Take the density into coordinates `z` with `x = shift + A z`; its gradient becomes `A' g`."""

    def moved(point: NDArray[Any], shift: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        value, gradient = density(mapped @ point + shift)
        return value, gradient @ mapped

    return moved


def _model(density: LogDensity, start: NDArray[Any], mapped: NDArray[Any] | None, recorder: _Recorder) -> Any:
    """Make nutpie's model. nutpie draws its own first point: space is shifted so that this point is the start."""
    moved = _moved(density) if mapped is None else _mapped(density, mapped)
    from nutpie.compiled_pyfunc import from_pyfunc

    def make_density() -> Callable[[NDArray[Any]], tuple[float, NDArray[Any]]]:
        shift: list[NDArray[Any]] = []

        def shifted(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            if not shift:
                shift.append(start - (point if mapped is None else mapped @ point))
                recorder.moved(shift[0])
            return moved(point, shift[0])

        return shifted

    def make_recorder(*_: int) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
        return recorder

    return from_pyfunc(start.size, make_density, make_recorder, [], [], [])


def _divergences(sampler: Any) -> int:
    return int(_stats(sampler.inspect())["diverging"].sum())


def _stats(trace: Any) -> dict[str, NDArray[Any]]:
    import numpy as np

    _, stats = trace[0]
    fields = {ours: stats.field(theirs) for ours, theirs in _STATS.items()}
    return {name: np.array(values.to_numpy(zero_copy_only=False)) for name, values in fields.items()}

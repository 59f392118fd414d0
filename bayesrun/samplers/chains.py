"""Chains of one run: their seeds, the draws that they share, and the processes in which they run.

Chains fork after compiling: a model is compiled once, and no two threads share one of its functions. What they draw
does not depend on how many run at the same time.
"""

from __future__ import annotations

import logging
import math
import mmap
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import SamplingError
from bayesrun.processes import leave_signals_to_parent, may_fork, processors, uninterrupted
from bayesrun.samplers.base import Monitor, SamplerSpec
from bayesrun.samplers.smaller_steps import MAX_CHANGES, StepChange

Stats = Mapping[str, NDArray[Any]]
KeepGoing = Callable[[], bool]
RunChain = Callable[[int, KeepGoing], Stats]

log = logging.getLogger("bayesrun.sampling")

_POLL_SECONDS = 0.02
_FAILED = -1
DIED = "the process of chain %d %s: the others continued, and its draws so far are in the run's folder draws/"
"""Message of a chain that died: its number, and how."""


def chain_seeds(seed: int, chains: int) -> list[int]:
    """Return one independent seed per chain, the same for the same `seed`."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(chains) >> 2]


def parallel_chains(spec: SamplerSpec) -> int:
    """Return how many chains run at the same time."""
    return min(spec.chains, spec.cores or processors())


def most_draws(made: Mapping[int, int]) -> tuple[list[int], int]:
    """Choose the chains, and the one length to cut them to, that keep the most draws.

    Parameters
    ----------
    made
        Draws kept so far by chain; at least one chain has some.

    Returns
    -------
    chains : list of int
        In their order.
    length : int
        Draws of each.
    """
    ranked = sorted((chain for chain in made if made[chain] > 0), key=lambda chain: -made[chain])
    count = max(range(1, len(ranked) + 1), key=lambda n: n * made[ranked[n - 1]])
    return sorted(ranked[:count]), made[ranked[count - 1]]


def kept_chains(made: Mapping[int, int], chains: int, outcome: Outcome) -> tuple[list[int], int]:
    """Choose the chains, and the length to cut them to, that keep the most draws; log what is lost.

    Parameters
    ----------
    made
        Draws kept so far by chain.
    chains
        Number of chains of the run.
    outcome
        How they ended.

    Raises
    ------
    KeyboardInterrupt
        When sampling was interrupted before any draw was kept.
    SamplingError
        When no chain made a draw.
    """
    if not any(count > 0 for count in made.values()):
        if outcome.stop is not None:
            raise outcome.stop
        how = ", ".join(sorted(set(outcome.died.values())))
        raise SamplingError(f"no chain made a draw: their processes {how}" if how else "no chain made a draw")
    kept, length = most_draws(made)
    if len(kept) < chains:
        log.warning("chains kept: %d of %d; the others had too few draws", len(kept), chains)
    for chain, how in outcome.died.items():
        log.warning(DIED, chain, how)
    return kept, length


@dataclass(frozen=True)
class SharedDraws:
    """Arrays in memory that forked processes share: what one writes, the others read, and nothing is copied.

    Parameters
    ----------
    points
        Kept draws (chain, draw, parameter), unconstrained.
    done
        Draws made (chain), tuning included.
    diverging
        Divergences so far (chain), tuning included.
    stop
        One element; chains end when it is not 0.
    changes
        For each change of a chain's steps (chain, change, 2): 1 + the kept draws that became warm-up, and the
        divergences seen by then; 0 where there is none.
    """

    points: NDArray[Any]
    done: NDArray[Any]
    diverging: NDArray[Any]
    stop: NDArray[Any]
    changes: NDArray[Any]

    def change(self, chain: int, changes: Sequence[StepChange], done: int) -> None:
        """Record the changes of a chain so far, after which it has made `done` draws that count, tuning included."""
        for place, one in enumerate(changes):
            self.changes[chain, place] = one.draws + 1, one.diverged
        self.done[chain] = done

    def take(self, chain: int, points: NDArray[Any], tune: int) -> None:
        """Put kept draws (draw, parameter) of a chain in the place of those that it has."""
        self.points[chain, : len(points)] = points
        self.done[chain] = tune + len(points)

    def all_changes(self) -> dict[int, list[StepChange]]:
        """Return the changes of steps of each chain that has any."""
        changes = {
            chain: [StepChange(int(draws) - 1, int(diverged)) for draws, diverged in own if draws]
            for chain, own in enumerate(self.changes)
        }
        return {chain: own for chain, own in changes.items() if own}


def share_draws(chains: int, draws: int, parameters: int) -> SharedDraws:
    """Make the memory of a run; its pages are taken when they are first written."""
    points = _shared("f8", chains, draws, parameters)
    changes = _shared("i8", chains, MAX_CHANGES, 2)
    return SharedDraws(points, _shared("i8", chains), _shared("i8", chains), _shared("i8", 1), changes)


def _shared(kind: str, *shape: int) -> NDArray[Any]:
    return np.frombuffer(mmap.mmap(-1, 8 * math.prod(shape)), dtype=kind).reshape(shape)


class Progress:
    """Notifies a monitor of the draws that were made since the last call.

    Parameters
    ----------
    shared
        What the chains have made.
    tune
        Tuning draws per chain.
    monitor
        Who is notified.
    done
        Draws that each chain had made before, tuning included.
    """

    def __init__(self, shared: SharedDraws, tune: int, monitor: Monitor, done: Sequence[int] | None = None) -> None:
        self._shared, self._tune, self._monitor = shared, tune, monitor
        self._done = list(done or [0] * len(shared.done))
        self._diverging = [0] * len(shared.done)

    def tell(self) -> None:
        """Notify the monitor of new draws."""
        for chain, done in enumerate(map(int, self._shared.done)):
            new = int(self._shared.diverging[chain]) - self._diverging[chain]
            self._diverging[chain] += new
            self._done[chain] = min(done, self._done[chain])  # its draws so far became warm-up
            for number in range(self._done[chain] + 1, done + 1):
                # which of the new draws diverged is not known yet: the last ones are reported
                self._done[chain] = number
                self._monitor.draw(chain, number, number <= self._tune, done - number < new)


@dataclass(frozen=True)
class Outcome:
    """What chains left.

    Parameters
    ----------
    stats
        Statistics by chain, of the chains that finished or were ended early.
    stop
        The interrupt that ended them early, if one did.
    died
        How the process of a chain ended that left no statistics, by chain.
    """

    stats: Mapping[int, Stats]
    stop: KeyboardInterrupt | None = None
    died: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Worker:
    process: Any
    results: Connection
    chains: range


def run_chains(
    chains: int, processes: int, run_chain: RunChain, shared: SharedDraws, on_progress: Callable[[], None]
) -> Outcome:
    """Run all chains, `processes` of them at a time.

    Parameters
    ----------
    chains
        Number of chains.
    processes
        How many run at the same time.
    run_chain
        `(chain, keep_going) -> statistics`; ends early when `keep_going()` is False.
    shared
        Memory that all processes see; `shared.stop` ends them.
    on_progress
        Called now and then in this process while chains run. A `KeyboardInterrupt` from it, or from a signal, ends
        the chains; their draws are in `shared`.

    Returns
    -------
    Outcome
        Statistics of the chains that began. A process that is killed costs the statistics of its chains alone: the
        others continue. A second interrupt waits no longer for chains that have not ended after the first.

    Raises
    ------
    SamplingError
        When a chain failed with an error of its own.
    """
    if not may_fork():
        return _here(chains, run_chain, shared, on_progress)
    with _workers(chains, processes, run_chain, shared) as workers:
        outcome = _collect([worker.results for worker in workers], shared, on_progress)
        return replace(outcome, died=_deaths(workers, outcome))


def _here(chains: int, run_chain: RunChain, shared: SharedDraws, on_progress: Callable[[], None]) -> Outcome:
    """Run the chains in turn in this process, where no other may be started."""
    stops: list[KeyboardInterrupt] = []

    def keep_going() -> bool:
        try:
            on_progress()
        except KeyboardInterrupt as stop:
            stops.append(stop)
            shared.stop[0] = 1
        return not shared.stop[0]

    stats = {}
    for chain in range(chains):
        if not shared.stop[0]:
            stats[chain] = run_chain(chain, keep_going)
    return Outcome(stats, stops[0] if stops else KeyboardInterrupt() if shared.stop[0] else None)


@contextmanager
def _workers(chains: int, processes: int, run_chain: RunChain, shared: SharedDraws) -> Iterator[list[_Worker]]:
    context, workers = multiprocessing.get_context("fork"), []
    try:
        for first in range(processes):
            receive, send = context.Pipe(duplex=False)
            mine = range(first, chains, processes)
            process = context.Process(target=_work, args=(mine, run_chain, shared, send, receive), daemon=True)
            with uninterrupted():  # a process that is not among the workers would not be ended
                process.start()
                workers.append(_Worker(process, receive, mine))
            send.close()
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.results.close()


def _work(
    chains: Sequence[int], run_chain: RunChain, shared: SharedDraws, results: Connection, others_end: Connection
) -> None:
    others_end.close()  # or sending to a killed parent would wait forever for this process to read
    leave_signals_to_parent()
    parent = os.getppid()

    def keep_going() -> bool:
        return not shared.stop[0] and os.getppid() == parent

    with suppress(BrokenPipeError):  # the parent is gone
        try:
            for chain in chains:
                if keep_going():
                    results.send((chain, run_chain(chain, keep_going)))
        except BrokenPipeError:
            raise
        except BaseException:  # whatever it is, the parent reports it
            results.send((_FAILED, traceback.format_exc()))


def _collect(waiting: list[Connection], shared: SharedDraws, on_progress: Callable[[], None]) -> Outcome:
    stats: dict[int, Stats] = {}
    stop: KeyboardInterrupt | None = None
    while waiting:
        try:
            for connection in wait(waiting, _POLL_SECONDS):
                _receive(connection, waiting, stats)  # type: ignore[arg-type]
            if stop is None:
                on_progress()
        except KeyboardInterrupt as interrupt:
            if stop is not None:  # chains that have not ended by now are ended: what they saved is kept
                break
            stop, shared.stop[0] = interrupt, 1
    return Outcome(stats, stop)


def _receive(connection: Connection, waiting: list[Connection], stats: dict[int, Stats]) -> None:
    try:
        chain, result = connection.recv()
    except EOFError:
        waiting.remove(connection)
        return
    if chain == _FAILED:
        raise SamplingError(f"a chain failed:\n{result}")
    stats[chain] = result


def _deaths(workers: Sequence[_Worker], outcome: Outcome) -> dict[int, str]:
    """Describe how the process of each chain ended that should have left statistics and did not."""
    died = {}
    for worker in workers:
        if outcome.stop is None:
            worker.process.join()
        code = worker.process.exitcode  # None: it is about to be ended, after a second interrupt
        if code or outcome.stop is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            died.update({chain: how for chain in worker.chains if chain not in outcome.stats})
    return died

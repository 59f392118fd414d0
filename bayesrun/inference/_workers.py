"""Chains in processes that fork after compiling: compiled once, and no two threads share a Theano function."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from bayesrun.errors import SamplingError
from bayesrun.inference._board import Board
from bayesrun.processes import may_fork, uninterrupted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Stats = Mapping[str, NDArray[Any]]
    GoOn = Callable[[], bool]
    RunChain = Callable[[int, GoOn], Stats]

_POLL_SECONDS = 0.02
_FAILED = -1


@dataclass(frozen=True)
class Outcome:
    """What chains left: their statistics by chain, and the interrupt that ended them early, if one did."""

    stats: Mapping[int, Stats]
    stop: KeyboardInterrupt | None = None


@dataclass(frozen=True)
class _Worker:
    process: Any
    results: Connection


def run(chains: int, processes: int, run_chain: RunChain, board: Board, told: Callable[[], None]) -> Outcome:
    """Run all chains, `processes` of them at a time.

    Parameters
    ----------
    chains
        Number of chains.
    processes
        How many run at the same time.
    run_chain
        `(chain, go_on) -> statistics`; ends early when `go_on()` is False.
    board
        Shared with the processes; `board.stop` ends them.
    told
        Called now and then in this process while chains run. A `KeyboardInterrupt` from it, or from a signal, ends
        the chains; their draws are on the board.

    Returns
    -------
    Outcome
        Statistics of the chains that began.

    Raises
    ------
    SamplingError
        When a chain failed.
    KeyboardInterrupt
        At a second interrupt, when chains have not ended after the first.
    """
    if not may_fork():
        return _here(chains, run_chain, board, told)
    with _workers(chains, processes, run_chain, board) as workers:
        outcome = _collect([worker.results for worker in workers], board, told)
        _check_ends(workers)
    return outcome


def _here(chains: int, run_chain: RunChain, board: Board, told: Callable[[], None]) -> Outcome:
    """Run the chains in turn in this process, where no other may be started."""
    stops: list[KeyboardInterrupt] = []

    def go_on() -> bool:
        try:
            told()
        except KeyboardInterrupt as stop:
            stops.append(stop)
            board.stop[0] = 1
        return not board.stop[0]

    stats = {}
    for chain in range(chains):
        if not board.stop[0]:
            stats[chain] = run_chain(chain, go_on)
    return Outcome(stats, stops[0] if stops else KeyboardInterrupt() if board.stop[0] else None)


@contextmanager
def _workers(chains: int, processes: int, run_chain: RunChain, board: Board) -> Iterator[list[_Worker]]:
    context, workers = multiprocessing.get_context("fork"), []
    try:
        for first in range(processes):
            receive, send = context.Pipe(duplex=False)
            mine = range(first, chains, processes)
            process = context.Process(target=_work, args=(mine, run_chain, board, send, receive), daemon=True)
            with uninterrupted():
                process.start()
            send.close()
            workers.append(_Worker(process, receive))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.results.close()


def _work(
    chains: Sequence[int], run_chain: RunChain, board: Board, results: Connection, others_end: Connection
) -> None:
    others_end.close()  # or sending to a parent that was killed would wait for ever, for this process to read
    # Ctrl-C and SIGTERM go to the whole group: only the parent answers them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()

    def go_on() -> bool:
        return not board.stop[0] and os.getppid() == parent

    with suppress(BrokenPipeError):  # there is no parent any more
        try:
            for chain in chains:
                if go_on():
                    results.send((chain, run_chain(chain, go_on)))
        except BrokenPipeError:
            raise
        except BaseException:  # whatever it is, the parent tells it
            results.send((_FAILED, traceback.format_exc()))


def _collect(waiting: list[Connection], board: Board, told: Callable[[], None]) -> Outcome:
    stats: dict[int, Stats] = {}
    stop: KeyboardInterrupt | None = None
    while waiting:
        try:
            for connection in wait(waiting, _POLL_SECONDS):
                _receive(connection, waiting, stats)  # type: ignore[arg-type]
            if stop is None:
                told()
        except KeyboardInterrupt as interrupt:
            if stop is not None:
                raise
            stop, board.stop[0] = interrupt, 1
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


def _check_ends(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.join()
        if worker.process.exitcode:
            raise SamplingError(f"the process of a chain died (exit code {worker.process.exitcode}): is memory short?")

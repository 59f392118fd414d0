"""Many fits of one task: side by side in processes, each kept as soon as it is made, so that none is made twice.

    cache = FitCache.of(outputs, "sbc", {"config": ..., "data": ...})
    fits = fit_all(range(200), fit, cache, processes=2)

`fit(number)` returns arrays. It is called in processes that are forked from this one, so that all of them share what is
compiled already. A fit is one file of the cache, whose folder is named by what decides the numbers: config, data, code
and package versions. The same command, after a kill or with more fits, makes those that are not there yet.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import BayesrunError
from bayesrun.processes import ATTEMPTS, end_with_parent, leave_signals_to_parent, may_fork, uninterrupted
from bayesrun.provenance import code_digest, versions
from bayesrun.run_folder import RunFolder

Fit = Mapping[str, NDArray[Any]]
MakeFit = Callable[[int], Fit]

log = logging.getLogger("bayesrun")

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FitCache:
    """Fits on the disk, one file each.

    Parameters
    ----------
    folder
        Its folder, which belongs to one identity.
    """

    folder: Path

    @classmethod
    def of(cls, outputs: Path, task: str, identity: Mapping[str, Any]) -> FitCache:
        """Return the cache of fits with an identity; it is made with its first fit.

        Parameters
        ----------
        outputs
            `paths.outputs`.
        task
            Name of the task.
        identity
            What decides each fit except its number, as plain values. Code and package versions are added.
        """
        whole = {**identity, "code": code_digest(), "packages": versions()}
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
        return cls((outputs / "fits" / f"{task}_{digest[:16]}").absolute())

    def write(self, number: int, fit: Fit) -> None:
        """Keep a fit; the file is written whole."""
        RunFolder(self.folder).write(f"{number}.npz", lambda path: _save(path, fit))

    def read_all(self, numbers: Sequence[int]) -> dict[int, Fit]:
        """Return those of some fits that are there."""
        return {number: one for number in numbers if (one := self.read(number)) is not None}

    def read(self, number: int) -> Fit | None:
        """Return a fit; None where there is none, or its file is broken."""
        try:
            with np.load(self.folder / f"{number}.npz", allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None


def _save(path: Path, fit: Fit) -> None:
    with path.open("wb") as file:
        np.savez(file, **fit)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Fits:
    """What became of all fits.

    Parameters
    ----------
    made
        The fits by number, in order.
    failed
        Why each of the others has failed.
    reused
        How many were in the cache.
    interrupted
        Whether a Ctrl-C left some without a result.
    """

    made: Mapping[int, Fit]
    failed: Mapping[int, str] = field(default_factory=dict)
    reused: int = 0
    interrupted: bool = False

    @classmethod
    def of(
        cls,
        numbers: Sequence[int],
        found: Mapping[int, Fit],
        cache: FitCache,
        failed: Mapping[int, str],
        interrupted: bool,
    ) -> Fits:
        """Return what became of some fits: those found in the cache before, and those that are there now."""
        every = {**found, **cache.read_all([number for number in numbers if number not in found])}
        return cls({n: every[n] for n in numbers if n in every}, failed, len(found), interrupted)


def fit_all(
    numbers: Sequence[int],
    fit: MakeFit,
    cache: FitCache,
    processes: int,
    tell: Callable[[int], None] = lambda done: None,
) -> Fits:
    """Make all fits that the cache does not have.

    Parameters
    ----------
    numbers
        The fits.
    fit
        Makes one; what it raises is the reason why that one has failed.
    cache
        Where fits are kept.
    processes
        How many are made at the same time. Chains of one fit run in turn.
    tell
        Called with the number of fits that are done or failed, each time that changes.

    Returns
    -------
    Fits
        A fit whose process was killed is begun once more. The first one is made in this process: what it compiles, the
        others find compiled.
    """
    found = cache.read_all(numbers)
    waiting = [number for number in numbers if number not in found]
    pool = _Pool(fit, cache, lambda: tell(len(found) + pool.done))
    tell(len(found))
    interrupted = False
    try:
        if may_fork():
            pool.run_here(waiting[:1])
            pool.run(waiting[1:], min(processes, len(waiting) - 1))
        else:
            pool.run_here(waiting)
    except KeyboardInterrupt:
        interrupted = True
    return Fits.of(numbers, found, cache, pool.failed, interrupted)


@dataclass
class _Worker:
    process: Any
    jobs: Connection
    number: int | None = None


class _Pool:
    """Processes that make fits, and what has failed."""

    def __init__(self, fit: MakeFit, cache: FitCache, tell: Callable[[], None]) -> None:
        self._fit, self._cache, self._tell = fit, cache, tell
        self.failed: dict[int, str] = {}
        self.done = 0

    def run_here(self, numbers: Sequence[int]) -> None:
        """Make fits in this process."""
        with _quiet():
            for number in numbers:
                self._end(number, _attempt(self._fit, self._cache, number))

    def run(self, numbers: Sequence[int], processes: int) -> None:
        """Make fits in forked processes; those that die are replaced."""
        waiting, died = deque(numbers), Counter[int]()
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.number is not None for worker in workers):
                while waiting and len(workers) < processes:
                    self._start(workers)
                for worker in workers:
                    if worker.number is None and waiting:
                        self._give(worker, waiting)
                for connection in wait([worker.jobs for worker in workers], _POLL_SECONDS):
                    worker = next(one for one in workers if one.jobs is connection)
                    self._receive(worker, workers, waiting, died)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
                worker.jobs.close()

    def _start(self, workers: list[_Worker]) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._fit, self._cache, theirs, ours), daemon=True)
        with uninterrupted():  # a process that is not among the workers would not be ended
            process.start()
            workers.append(_Worker(process, ours))
        theirs.close()

    def _give(self, worker: _Worker, waiting: deque[int]) -> None:
        worker.number = waiting.popleft()
        with suppress(OSError):  # it has died, which is seen when its answer is read
            worker.jobs.send(worker.number)

    def _receive(self, worker: _Worker, workers: list[_Worker], waiting: deque[int], died: Counter[int]) -> None:
        number = worker.number
        try:
            reason = worker.jobs.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.jobs.close()
            workers.remove(worker)
            if number is None:
                return
            died[number] += 1
            if died[number] < ATTEMPTS:
                log.warning("the process of fit %d %s: it is made again", number, _how(worker.process.exitcode))
                waiting.appendleft(number)
                return
            reason = f"its process {_how(worker.process.exitcode)}, twice"
        worker.number = None
        assert number is not None
        self._end(number, reason)

    def _end(self, number: int, reason: str | None) -> None:
        self.done += 1
        if reason is not None:
            self.failed[number] = reason
        self._tell()


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _work(fit: MakeFit, cache: FitCache, jobs: Connection, others_end: Connection) -> None:
    """Make the fits whose numbers arrive, until no more can."""
    others_end.close()
    leave_signals_to_parent()
    end_with_parent()
    with suppress(EOFError, OSError), _quiet():  # the parent is gone
        while True:
            jobs.send(_attempt(fit, cache, jobs.recv()))


def _attempt(fit: MakeFit, cache: FitCache, number: int) -> str | None:
    """Make and keep one fit; return why it has failed."""
    try:
        cache.write(number, fit(number))
    except BayesrunError as error:
        return str(error)
    except Exception as error:  # this one fails, the others continue
        log.debug("fit %d failed", number, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what each of many fits logs off the console."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)

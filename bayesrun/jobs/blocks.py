"""Many fits of one task on other machines: blocks of fits, each a job of a launcher that writes into the task's cache.

    place = Placement.of(config, run_folder)                     # launcher=slurm, ray
    fits = make_fits(range(200), work, cache, place, tell)

A job prepares the fits anew (imports, model, compiled functions), makes those of its block in processes of its own,
keeps each in the cache that the command reads, and leaves a record. The fits of a lost job are handed out once more.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from bayesrun.config.compose import compose
from bayesrun.config.hydra_internals import HydraParts
from bayesrun.config.resolvers import conf
from bayesrun.errors import BayesrunError, SamplingError
from bayesrun.garbage import collect_rarely
from bayesrun.jobs.base import JOBS
from bayesrun.jobs.launch import launch, traits_of
from bayesrun.jobs.patches import explain_time_limit
from bayesrun.many_fits import FitCache, Fits, MakeFit, fit_all
from bayesrun.processes import ATTEMPTS, processors
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.monitors import Signals

log = logging.getLogger("bayesrun.jobs")

FOLDER = "jobs"
"""Folder of the jobs, in the run folder of their task."""
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """What makes the fits of a task.

    Parameters
    ----------
    fit
        Makes one, in this process.
    prepare
        Makes `fit` in another process, and the cache in which it would keep its fits there; it is pickled.
    least
        Fewest fits of one process that are worth a job: a job imports and compiles before its first.
    """

    fit: MakeFit
    prepare: Callable[[], tuple[MakeFit, FitCache]]
    least: int = 1


@dataclass(frozen=True)
class Placement:
    """Where the fits of a task are made.

    Parameters
    ----------
    folder
        Folder of the task's run.
    processes
        How many fits are made at the same time by one process: this one, or a job.
    hydra
        Makes the launcher of the jobs; None where all fits are made on this machine.
    """

    folder: Path
    processes: int
    hydra: HydraParts | None = None

    @classmethod
    def of(cls, config: DictConfig, folder: Path) -> Placement:
        """Return what `launcher=...` asks for.

        Parameters
        ----------
        config
            The composed config, with Hydra's node. `sampler.cores` is the number of processes of a job.
        folder
            Folder of the task's run.
        """
        traits, cores = traits_of(config), config.sampler.cores
        if traits.queue or traits.ray:
            return cls(folder, int(cores or 1), _launching(config))
        if traits.workers:
            workers, own = int(config.hydra.launcher.n_jobs), processors()
            return cls(folder, (workers if workers > 0 else max(1, own + 1 + workers)) * int(cores or 1))
        return cls(folder, int(cores or processors()))

    def blocks(self, numbers: Sequence[int], least: int) -> list[tuple[int, ...]]:
        """Divide fits among jobs: as many as can run at one time, unless they would have too few fits."""
        assert self.hydra is not None
        count = max(1, min(_slots(self.hydra, self.processes), len(numbers) // (least * self.processes)))
        return [tuple(numbers[first::count]) for first in range(min(count, len(numbers)))]


def _launching(config: DictConfig) -> HydraParts:
    """Return the launcher that a config names, for jobs that compose nothing: what they do is pickled with them."""
    plain = compose(Namespace(config_dir=None, config_name=None, overrides=[], multirun=True), conf())
    launcher = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    with open_dict(plain.config.hydra):
        plain.config.hydra.launcher = launcher
    return HydraParts(plain.config, plain.loader)


def _slots(hydra: HydraParts, processes: int) -> int:
    """Return how many jobs can run at one time."""
    launcher = hydra.config.hydra.launcher
    if traits_of(hydra.config).ray:
        from bayesrun.jobs.ray_cluster import connect, count_processors  # Ray, an extra

        init: Any = OmegaConf.to_container(launcher.ray.init)
        connect(init)
        return max(1, count_processors() // processes)
    return int(launcher.get("array_parallelism") or max(1, processors() // processes))


def make_fits(
    numbers: Sequence[int],
    work: Work,
    cache: FitCache,
    place: Placement,
    tell: Callable[[int], None] = lambda done: None,
) -> Fits:
    """Make all fits that the cache does not have, here or in jobs.

    Parameters
    ----------
    numbers
        The fits.
    work
        What makes them.
    cache
        Where they are kept; jobs need the same folder.
    place
        Where they are made.
    tell
        Called with the number of fits that are done.

    Returns
    -------
    Fits
        As of `fit_all`. The fits of a lost job are begun once more; where that one is lost, too, they have failed.
    """
    if place.hydra is None:
        return fit_all(numbers, work.fit, cache, place.processes, tell)
    return _InJobs(work, cache, place, place.hydra).make(numbers, tell)


@dataclass(frozen=True)
class _Block:
    """A job: the fits of one block."""

    number: int
    fits: tuple[int, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockRecord:
    """How the job of a block ended.

    Parameters
    ----------
    number
        Of the job.
    status
        `finished`, whether its fits have failed or not; `failed`, where it could make none; `interrupted` from outside,
        and `lost` where the job itself left no record.
    fits
        The fits of the block.
    failed
        Why fits have failed.
    error
        Why the job did not finish.
    host, seconds
        Where it ran, and the wall time.
    """

    number: int
    status: Literal["finished", "failed", "interrupted", "lost"]
    fits: Sequence[int]
    failed: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    host: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class BlockRecords:
    """The records of blocks, as launching needs them (`base.Records`).

    Parameters
    ----------
    folder
        The folder of all jobs.
    blocks
        Number of a job to its fits.
    """

    folder: Path
    blocks: Mapping[int, Sequence[int]]

    def read(self, number: int) -> BlockRecord | None:
        """Read a job's record; None where it has left none."""
        path = self.folder / JOBS / f"{number}.json"
        return BlockRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, record: BlockRecord) -> None:
        """Write a job's record, whole."""
        RunFolder(self.folder / JOBS).write_json(f"{record.number}.json", asdict(record))

    def has_ended(self, number: int) -> bool:
        """Return whether a job has left its record."""
        return self.read(number) is not None

    def was_interrupted(self, number: int) -> bool:
        """Return whether a job's record says that it was ended from outside."""
        record = self.read(number)
        return record is not None and record.status == "interrupted"

    def explain(self, number: int, reason: str) -> None:
        """Write why a job was ended from outside into its record."""
        record = self.read(number)
        assert record is not None
        self.write(replace(record, error=reason))

    def give_up(self, number: int, reason: str) -> None:
        """Write the record of a job that has left none."""
        self.write(BlockRecord(number, "lost", list(self.blocks[number]), error=" ".join(reason.split())))

    def set_aside(self, number: int) -> None:
        """Remove the record of an earlier attempt at a job; what it has made is in the cache."""
        (self.folder / JOBS / f"{number}.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class _MakeBlock:
    """What Hydra's launchers call for each job, in any process; it is pickled."""

    prepare: Callable[[], tuple[MakeFit, FitCache]]
    cache: FitCache
    records: BlockRecords
    processes: int

    def __call__(self, config: DictConfig) -> None:
        """Make the fits of the job that Hydra has set up, and leave its record."""
        collect_rarely()
        number, began = int(HydraConfig.get().sweep.subdir), time.perf_counter()
        record = BlockRecord(number, "failed", list(self.records.blocks[number]), host=socket.gethostname())
        try:
            with Signals(), explain_time_limit():
                record = self._made(record)
        except KeyboardInterrupt:
            record = replace(record, status="interrupted", error="it was interrupted")
        except BayesrunError as error:
            record = replace(record, error=str(error))
        except Exception as error:  # the command tells it, and goes on with the other jobs
            record = replace(record, error=f"{type(error).__name__}: {error}")
        self.records.write(replace(record, seconds=time.perf_counter() - began))

    def _made(self, record: BlockRecord) -> BlockRecord:
        fit, cache = self.prepare()
        if cache.folder.name != self.cache.folder.name:
            raise SamplingError(
                f"on {record.host} the fits would not be those of the command ({cache.folder.name} instead of "
                f"{self.cache.folder.name}): install the same versions of bayesrun and its packages on all nodes"
            )
        done = fit_all(record.fits, fit, self.cache, self.processes)
        if done.interrupted:
            raise KeyboardInterrupt
        return replace(record, status="finished", failed={str(n): reason for n, reason in done.failed.items()})


@dataclass(frozen=True)
class _InJobs:
    """Makes fits in jobs."""

    work: Work
    cache: FitCache
    place: Placement
    hydra: HydraParts

    def make(self, numbers: Sequence[int], tell: Callable[[int], None]) -> Fits:
        """Hand out the fits that are not there; those of lost jobs once more."""
        found = self.cache.read_all(numbers)
        waiting = [number for number in numbers if number not in found]
        failed, interrupted = dict[int, str](), False
        try:
            with _counting(self.cache, numbers, tell):
                for attempt in range(ATTEMPTS):
                    if not waiting:
                        break
                    records = self._launch(waiting, is_again=attempt > 0)
                    failed |= {int(n): reason for record in records for n, reason in record.failed.items()}
                    lost = self._lost(records, failed)
                    failed |= {n: reason for n, (reason, again) in lost.items() if not again}
                    waiting = [n for n, (_, again) in lost.items() if again]
            failed |= {n: lost[n][0] for n in waiting}
        except KeyboardInterrupt:
            interrupted = True
        return Fits.of(numbers, found, self.cache, failed, interrupted)

    def _launch(self, waiting: Sequence[int], is_again: bool) -> list[BlockRecord]:
        """Run a job for each block and return the records of all."""
        folder = self.place.folder / FOLDER
        first = len(list((folder / JOBS).glob("*.json")))
        blocks = {first + n: fits for n, fits in enumerate(self.place.blocks(waiting, self.work.least))}
        records = BlockRecords(folder, blocks)
        again = " again" if is_again else ""
        print(f"{len(waiting)} fits{again} in {len(blocks)} jobs, whose records are in {folder}", flush=True)
        call = _MakeBlock(self.work.prepare, self.cache, records, self.place.processes)
        config = self.hydra.config.copy()
        OmegaConf.set_struct(config, False)
        config.hydra.sweep.dir = str(folder)
        HydraConfig.instance().set_config(config)
        jobs = [_Block(number, fits) for number, fits in blocks.items()]
        launch(HydraParts(config, self.hydra.loader), jobs, call, records)
        ended = [record for number in blocks if (record := records.read(number)) is not None]
        for record in ended:
            print(_line(record), flush=True)
        return ended

    def _lost(self, records: Sequence[BlockRecord], failed: Mapping[int, str]) -> dict[int, tuple[str, bool]]:
        """Return the fits that are neither there nor failed: why, and whether they may be made again."""
        return {
            number: (record.error or "its job left no result", record.status in ("interrupted", "lost"))
            for record in records
            for number in record.fits
            if number not in failed and self.cache.read(number) is None
        }


def _line(record: BlockRecord) -> str:
    """Return one line that says how a job ended."""
    took = f" in {record.seconds:.1f} s" if record.seconds is not None else ""
    where = f" on {record.host}" if record.host else ""
    error = f": {record.error}" if record.error else ""
    return f"job {record.number + 1}  {len(record.fits)} fits{where}: {record.status}{took}{error}"


@contextmanager
def _counting(cache: FitCache, numbers: Sequence[int], tell: Callable[[int], None]) -> Iterator[None]:
    """Tell how many fits are in the cache while jobs write into it."""
    ended, wanted = threading.Event(), {f"{number}.npz" for number in numbers}

    def watch() -> None:
        known = -1
        while True:
            last = ended.wait(_POLL_SECONDS)
            done = len(wanted.intersection(os.listdir(cache.folder))) if cache.folder.is_dir() else 0
            if done != known:
                tell(known := done)
            if last:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

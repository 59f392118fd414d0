"""A sweep from its points to its answer.

    points -> preflight -> reuse (what is done already) -> launch -> answer -> track

No job starts before every point has been checked.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.config.resolvers import task_overrides
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.invocation import command
from bayesrun.jobs.base import JOBS
from bayesrun.jobs.launch import launch, traits_of
from bayesrun.jobs.local_workers import end_workers, in_worker, prepare_workers
from bayesrun.processes import uninterrupted
from bayesrun.provenance import config_digest
from bayesrun.run_folder import check_place
from bayesrun.schema import parse
from bayesrun.sweeps.base import INTERRUPTED, KEYS, Goal, Point, Record, Steering
from bayesrun.sweeps.job import JobTask, RunJob, SweepRecords, line
from bayesrun.sweeps.parent import Parent, warm_tracking
from bayesrun.sweeps.points import Checked, Compose, expand, preflight
from bayesrun.sweeps.reuse import JobPlan, make_plan
from bayesrun.sweeps.search import goal_of, search, search_space
from bayesrun.sweeps.sweep_folder import (
    STOP,
    claim,
    close_ended_jobs,
    forget_launcher,
    is_answered,
    is_launching,
    note_launcher,
    read_json,
    read_record,
    remove_leftovers,
    write_record,
    write_state,
)

log = logging.getLogger("bayesrun.sweeps")

LISTING_SWEEPERS = frozenset({"hydra._internal.core_plugins.basic_sweeper.BasicSweeper"})
"""Sweepers whose jobs are known beforehand: all combinations of the values given."""
_MANY = 100  # checking that many takes some seconds


@dataclass(frozen=True)
class Request:
    """What the entry point hands over.

    Parameters
    ----------
    arguments
        Hydra's parsed flags.
    config
        The composed config, Hydra's node included.
    loader
        Hydra's config loader.
    compose
        Overrides of one job to its parsed config, and to the overrides as Hydra takes them.
    run
        Runs one composed config.
    problems
        Problems with the overrides; raised together with those of the points.
    begin
        Called once all points are valid, before the sweep has a folder.
    """

    arguments: Namespace
    config: DictConfig
    loader: Any
    compose: Compose
    run: RunJob
    problems: Sequence[Problem] = ()
    begin: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class EndOfSweep:
    """How a sweep ended.

    Parameters
    ----------
    folder
        The sweep's folder.
    exit_status
        0; 1 where a job has no posterior; that of the job that ended worst; 130 when it was interrupted.
    text
        What the sweep found, for the console.
    compare_hint
        How to compare its jobs in tracking; None where they are not tracked.
    """

    folder: Path
    exit_status: int
    text: str
    compare_hint: str | None = None
    is_interrupted: bool = False

    @property
    def how_to_finish(self) -> str:
        """What to do with a sweep that was interrupted."""
        return f"interrupted; to finish it: {command(f'resume={self.folder}')}"


def run_sweep(request: Request) -> EndOfSweep:
    """Run a sweep, or finish one.

    Raises
    ------
    UserError
        With the problems of all points; nothing is left behind.
    """
    began = time.perf_counter()
    config, steering = request.config, steering_of(request.config)
    remove_leftovers(Path(str(config.paths.outputs)))
    _prepare(config)
    if not _lists_its_points(config):
        return _search(request, steering, began)
    points = _points(config, steering)
    if steering.resume:
        check_place(Path(steering.resume).absolute())
        if is_launching(Path(steering.resume)):
            hint = "wait until it has ended, or end it with Ctrl-C"
            raise fail("resume", f"the sweep '{steering.resume}' is still running", hint)
    with _counting(len(points)) as tell:
        checked = preflight(points, request.compose, request.problems, tell=tell)
    checked = [_with_figures(job, steering) for job in checked]
    request.begin()
    folder = Path(steering.resume).absolute() if steering.resume else claim(Path(str(config.hydra.sweep.dir)))
    plan = make_plan(checked, folder, Path(str(config.paths.outputs)), steering.force)
    return _carry_out(_Attempt(request, folder, began, bool(plan.to_run)), steering, checked, plan)


@contextmanager
def _counting(total: int) -> Iterator[Callable[[int], object]]:
    """Show how many of many jobs are checked; yields what is told of each."""
    if total < _MANY:
        yield lambda done: None
        return
    from bayesrun.report.progress import CountLine  # Rich, which few sweeps need here

    print(f"checking {total:,} jobs; the first starts when all are valid", flush=True)
    with CountLine("jobs checked", total, "auto") as line:
        yield line.tell


def steering_of(config: DictConfig) -> Steering:
    """Parse the keys that only a sweep reads."""
    problems: list[Any] = []
    raw = {k: OmegaConf.to_container(config[k]) if OmegaConf.is_config(config[k]) else config[k] for k in KEYS}
    raw = {k: v for k, v in raw.items() if v is not None}
    steering = parse(Steering, raw, "", problems)
    check(problems)
    assert steering is not None
    return steering


def _prepare(config: DictConfig) -> None:
    """Let processes that will be needed import what they need while the points are checked."""
    traits = traits_of(config)
    workers = traits.workers
    if traits.ray:  # a cluster that can't be reached is reported before anything is left behind
        from bayesrun.jobs.ray_cluster import connect  # Ray, an extra

        init: Any = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
        connect(init)
    warm_tracking(config, workers)
    if workers:
        prepare_workers(int(config.hydra.launcher.n_jobs))


def _lists_its_points(config: DictConfig) -> bool:
    """Return whether the sweeper's points are known beforehand; otherwise it chooses each by the results before."""
    return str(config.hydra.sweeper._target_) in LISTING_SWEEPERS


def _points(config: DictConfig, steering: Steering) -> list[Point]:
    params = {str(k): str(v) for k, v in (config.hydra.sweeper.params or {}).items()}
    points = expand(task_overrides(config.hydra), params, steering.sweep, int(config.seed))
    baseline = steering.sweep.baseline
    if baseline is not None and baseline >= len(points):
        raise fail("sweep.baseline", f"there is no job {baseline}", f"jobs are 0 to {len(points) - 1}")
    return points


def _with_figures(job: Checked, steering: Steering) -> Checked:
    """Have a job draw only the figures that `sweep.figures` names, unless `model.figures` was given."""
    wanted, given = steering.sweep.figures, [o.split("=")[0].lstrip("+") for o in job.point.overrides]
    if wanted is None or "model.figures" in given:
        return job
    names = ",".join(name for name in job.config.model.figures if name in wanted)
    point = replace(job.point, overrides=(*job.point.overrides, f"model.figures=[{names}]"))
    return replace(job, point=point)


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a sweep: the first one, or a later `resume`."""

    request: Request
    folder: Path
    began: float
    runs_jobs: bool = True

    @property
    def seconds(self) -> float:
        """Wall time of all attempts; one that runs no job adds nothing."""
        earlier = read_json(self.folder / "metrics.json").get("seconds_total")
        if earlier is not None and not self.runs_jobs:
            return float(earlier)
        return (earlier or 0.0) + time.perf_counter() - self.began


def _carry_out(attempt: _Attempt, steering: Steering, checked: Sequence[Checked], plan: JobPlan) -> EndOfSweep:
    """Run what is not done yet, and write the answer."""
    request, folder = attempt.request, attempt.folder
    nothing_new = not plan.to_run and is_answered(folder, request.arguments)
    waiting = [_waiting(job.point, plan) for job in checked]
    (folder / STOP).unlink(missing_ok=True)
    write_state(folder, request.arguments, waiting)
    for record in plan.done:
        write_record(folder, record)
    print(_headline(plan, len(checked), folder), flush=True)
    answer = partial(_launch_and_answer, attempt, steering, checked, plan, waiting, nothing_new)
    return _closing_jobs(folder, request.config, answer)


def _closing_jobs(folder: Path, config: DictConfig, carry_out: Callable[[], EndOfSweep]) -> EndOfSweep:
    """Carry a sweep out and end its workers; where it was interrupted, note how far its jobs are.

    A job that was killed while the sweep went on is left to the next command, which recovers its draws.
    """
    end: EndOfSweep | None = None
    note_launcher(folder)
    try:
        end = carry_out()
        return end
    finally:
        with uninterrupted():  # a second Ctrl-C ends what the sweep still makes, not this
            end_workers()
            if end is None or end.is_interrupted:
                close_ended_jobs(folder, Path(str(config.paths.outputs)))
            forget_launcher(folder)


def _launch_and_answer(
    attempt: _Attempt,
    steering: Steering,
    checked: Sequence[Checked],
    plan: JobPlan,
    waiting: Sequence[Record],
    nothing_new: bool,
) -> EndOfSweep:
    request, folder = attempt.request, attempt.folder

    def parent_run() -> Parent:
        again = [p.number for p in plan.to_run]
        return Parent.open(request.config, checked[0].config, folder, len(checked), again)

    def jobs(parent: Parent) -> None:
        if plan.to_run:
            by_number = {record.number: record for record in waiting}
            task = JobTask(request.run, folder, by_number, parent.run_id, steering.fail_fast)
            launch(_hydra(request, folder), plan.to_run, task, SweepRecords(task))

    # with nothing new, the tracked run keeps its times
    parent, interrupted = (None, False) if nothing_new else _tracked(folder, parent_run, jobs)
    baseline = _baseline(steering, checked, request)
    return _finish(attempt, _records(folder, waiting), baseline, parent, interrupted)


def _tracked(
    folder: Path, parent_run: Callable[[], Parent], jobs: Callable[[Parent], object]
) -> tuple[Parent | None, bool]:
    """Open the sweep's own run and carry its jobs out; return the run, and whether a Ctrl-C ended them."""
    parent = None
    try:
        parent = parent_run()
        jobs(parent)
    except KeyboardInterrupt:
        return parent, True
    return parent, False


def _waiting(point: Point, plan: JobPlan) -> Record:
    return Record(point.number, point.setting, point.swept, point.seed, note=plan.notes.get(point.number, ""))


def _records(folder: Path, waiting: Sequence[Record]) -> list[Record]:
    """Read every job's record; those that never began (an interrupt) are still waiting."""
    found = [read_record(folder, r.number) or r for r in waiting]
    return [replace(f, note=f.note or r.note) for f, r in zip(found, waiting, strict=True)]


def _hydra(request: Request, folder: Path) -> HydraParts:
    config = request.config.copy()
    OmegaConf.set_struct(config, False)
    config.hydra.sweep.dir = str(folder)
    HydraConfig.instance().set_config(config)
    return HydraParts(config, request.loader)


def _headline(plan: JobPlan, total: int, folder: Path) -> str:
    reused = f" ({len(plan.done)} done already)" if plan.done else ""
    return f"sweep: {total} jobs{reused} in {folder}"


def _baseline(steering: Steering, checked: Sequence[Checked], request: Request) -> int:
    """Return the job that shifts are measured from: the configured one, else the one that is the config as shipped."""
    if steering.sweep.baseline is not None:
        return steering.sweep.baseline
    swept = set(checked[0].point.swept)
    plain = [o for o in checked[0].point.overrides if o.split("=")[0].lstrip("+") not in swept]
    try:
        unswept = config_digest(request.compose(plain)[0].plain)
    except UserError:  # the config needs one of the swept keys
        return 0
    return next((c.point.number for c in checked if config_digest(c.config.plain) == unswept), 0)


def _finish(
    attempt: _Attempt,
    records: Sequence[Record],
    baseline: int,
    parent: Parent | None,
    interrupted: bool,
    goal: Goal | None = None,
) -> EndOfSweep:
    """Write the answer, and close the sweep's run."""
    folder = attempt.folder
    for record in records:
        if record.note.startswith("reused"):
            print(line(record, len(records)))
    write_state(folder, attempt.request.arguments, records)
    failed, text = in_worker(_answer, folder, records, baseline, attempt.seconds, goal)
    if parent:
        parent.close(records, interrupted)
    hint = parent.tracker.compare_hint() if parent else None
    if interrupted:
        return EndOfSweep(folder, INTERRUPTED, text, hint, is_interrupted=True)
    # a single interrupted job (cancelled on the cluster) does not end the sweep
    cut_short = any(r.interrupted for r in records)
    aimless = goal is not None and not any(goal.metric in r.metrics for r in records)
    status = 1 if failed or cut_short or aimless else max((r.exit_status for r in records), default=0)
    return EndOfSweep(folder, status, text, hint)


def _answer(
    folder: Path, records: Sequence[Record], baseline: int, seconds: float, goal: Goal | None
) -> tuple[int, str]:
    """Write the answer; return how many jobs have no posterior, and what the console shows."""
    from bayesrun.sweeps.answer import answer  # pandas and Matplotlib, which a worker has imported

    found = answer(folder, records, baseline, seconds, goal)
    return found.failed, found.text


def _search(request: Request, steering: Steering, began: float) -> EndOfSweep:
    """Let a sweeper that chooses its points one by one (optuna) run them, once the ends of its space are checked."""
    if steering.resume:
        hint = "run the search again: with the same seed it tries the same points"
        raise fail("resume", "a search (sweeper=optuna) can't be resumed", hint)
    sweeper, overrides = request.config.hydra.sweeper, task_overrides(request.config.hydra)
    space = search_space(overrides, {str(k): str(v) for k, v in (sweeper.params or {}).items()})
    first = preflight(space.corners(), request.compose, request.problems, numbered=False)[0]
    goal = goal_of(steering.sweep, sweeper)
    request.begin()
    folder = claim(Path(str(request.config.hydra.sweep.dir)))
    write_state(folder, request.arguments, [])
    trials = int(sweeper.n_trials)
    print(f"search: {trials} jobs for the best {goal.metric} in {folder}", flush=True)

    def parent_run() -> Parent:
        return Parent.open(request.config, first.config, folder, trials, [])

    def jobs(parent: Parent) -> None:
        task = JobTask(request.run, folder, {}, parent.run_id, steering.fail_fast, goal.metric, trials, space.fixed)
        search(_hydra(request, folder), task, overrides)

    def answer() -> EndOfSweep:
        parent, interrupted = _tracked(folder, parent_run, jobs)
        numbers = sorted(int(p.stem) for p in (folder / JOBS).glob("*.json"))
        records = [r for r in (read_record(folder, n) for n in numbers) if r]
        return _finish(_Attempt(request, folder, began), records, 0, parent, interrupted, goal)

    return _closing_jobs(folder, request.config, answer)

"""A sweep from its points to its answer.

    points -> preflight -> plan (what is done already) -> launch -> answer -> track

Nothing is started before every point is known to be in order. `sweep.json` holds what `resume=FOLDER` needs.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.config.resolvers import task_overrides
from bayesrun.errors import UserError, check, fail
from bayesrun.schema import parse
from bayesrun.sweep.base import (
    INTERRUPTED,
    JOBS,
    KEYS,
    Point,
    Record,
    Steering,
    read_json,
    read_record,
    write_record,
    write_whole,
)
from bayesrun.sweep.job import STOP, JobTask, RunJob, line
from bayesrun.sweep.launch import launch, traits_of
from bayesrun.sweep.local_workers import end_workers, in_worker, prepare_workers
from bayesrun.sweep.points import Checked, Compose, expand, preflight
from bayesrun.sweep.reuse import Plan, make_plan

log = logging.getLogger("bayesrun.sweep")

STATE = "sweep.json"


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
    """

    arguments: Namespace
    config: DictConfig
    loader: Any
    compose: Compose
    run: RunJob


def run_sweep(request: Request) -> int:
    """Run a sweep, or finish one, and return its exit status.

    Raises
    ------
    UserError
        With the problems of all points; nothing is left behind.
    """
    began = time.perf_counter()
    config, steering = request.config, steering_of(request.config)
    _prepare(config)
    if not _is_basic(config):
        return _search(request, steering, began)
    overrides = task_overrides(config.hydra)
    params = {str(k): str(v) for k, v in (config.hydra.sweeper.params or {}).items()}
    points = expand(overrides, params, steering.sweep, int(config.seed))
    if steering.sweep.baseline is not None and steering.sweep.baseline >= len(points):
        raise fail("sweep.baseline", f"there is no job {steering.sweep.baseline}", f"jobs are 0 to {len(points) - 1}")
    checked = [_with_figures(job, steering) for job in preflight(points, request.compose)]
    folder = Path(steering.resume).absolute() if steering.resume else claim(Path(str(config.hydra.sweep.dir)))
    plan = make_plan(checked, folder, Path(str(config.paths.outputs)), steering.force)
    return _carry_out(request, steering, folder, checked, plan, began)


def _prepare(config: DictConfig) -> None:
    """Let processes that will be needed import what they need while the points are looked at."""
    from bayesrun.sweep.parent import warm_tracking

    workers = traits_of(config).workers
    warm_tracking(config, workers)
    if workers:
        prepare_workers(int(config.hydra.launcher.n_jobs))


def steering_of(config: DictConfig) -> Steering:
    """Parse the keys that only a sweep reads."""
    problems: list[Any] = []
    raw = {k: OmegaConf.to_container(config[k]) if OmegaConf.is_config(config[k]) else config[k] for k in KEYS}
    raw = {k: v for k, v in raw.items() if v is not None}
    steering = parse(Steering, raw, "", problems)
    check(problems)
    assert steering is not None
    return steering


def resumed(arguments: Namespace, folder: Path) -> Namespace:
    """Return the flags of the sweep in a folder, with what was given now on top.

    Raises
    ------
    UserError
        When the folder holds no sweep.
    """
    state = read_json(folder / STATE)
    if not state:
        raise fail("resume", f"'{folder}' holds no sweep ({STATE} is not there)", "give a folder below outputs/sweeps")
    stored = Namespace(**{**vars(arguments), **state["arguments"], "multirun": True})
    stored.overrides = [*state["arguments"]["overrides"], *arguments.overrides]
    return stored


def claim(wanted: Path) -> Path:
    """Make a sweep's folder; `_2`, `_3`, ... is added when another has it."""
    for count in itertools.count(1):
        path = wanted if count == 1 else wanted.with_name(f"{wanted.name}_{count}")
        try:
            path.absolute().mkdir(parents=True)
            return path.absolute()
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def _with_figures(job: Checked, steering: Steering) -> Checked:
    """Have a job draw only the figures that `sweep.figures` names, unless it was told what to draw."""
    wanted, said = steering.sweep.figures, [o.split("=")[0].lstrip("+") for o in job.point.overrides]
    if wanted is None or "model.figures" in said:
        return job
    names = ",".join(name for name in job.config.model.figures if name in wanted)
    point = replace(job.point, overrides=(*job.point.overrides, f"model.figures=[{names}]"))
    return replace(job, point=point)


def _is_basic(config: DictConfig) -> bool:
    return str(config.hydra.sweeper._target_).endswith("BasicSweeper")


def _carry_out(
    request: Request, steering: Steering, folder: Path, checked: Sequence[Checked], plan: Plan, began: float
) -> int:
    from bayesrun.sweep.parent import Parent

    records = [_waiting(job.point, plan) for job in checked]
    (folder / STOP).unlink(missing_ok=True)
    write_state(request.arguments, folder, records)
    for record in plan.done:
        write_record(folder, record)
    print(_headline(plan, len(checked), folder), flush=True)
    parent = Parent.open(request.config, checked[0].config, folder, len(checked), [p.number for p in plan.to_run])
    interrupted = False
    try:
        task = _task(request, steering, folder, records, parent.run_id)
        if plan.to_run:
            launch(_hydra(request, folder), plan.to_run, task)
    except KeyboardInterrupt:
        interrupted = True
    done = _gather(folder, records)
    baseline = _baseline(steering, checked, request)
    return _finish(request, folder, done, baseline, parent, interrupted, began)


def _waiting(point: Point, plan: Plan) -> Record:
    return Record(point.number, point.setting, point.swept, point.seed, note=plan.notes.get(point.number, ""))


def _task(
    request: Request, steering: Steering, folder: Path, records: Sequence[Record], parent_run_id: str | None
) -> JobTask:
    by_number = {record.number: record for record in records}
    return JobTask(request.run, folder, by_number, parent_run_id, steering.fail_fast)


def _hydra(request: Request, folder: Path) -> HydraParts:
    config = request.config.copy()
    OmegaConf.set_struct(config, False)
    config.hydra.sweep.dir = str(folder)
    HydraConfig.instance().set_config(config)
    return HydraParts(config, request.loader)


def write_state(arguments: Namespace, folder: Path, records: Sequence[Record]) -> None:
    """Write `sweep.json`: how the sweep was asked for, and its jobs."""
    resumable = {k: getattr(arguments, k, None) for k in ("config_name", "config_dir")}
    resumable["config_dir"] = resumable["config_dir"] and str(Path(resumable["config_dir"]).absolute())
    overrides = [o for o in arguments.overrides if o.lstrip("+").split("=")[0] not in ("resume", "force")]
    content = {"arguments": {**resumable, "overrides": overrides}, "jobs": [asdict(r) for r in records]}
    write_whole(folder / STATE, json.dumps(content, indent=1, default=str))


def _headline(plan: Plan, total: int, folder: Path) -> str:
    reused = f" ({len(plan.done)} done already)" if plan.done else ""
    return f"sweep: {total} jobs{reused} in {folder}"


def _gather(folder: Path, records: Sequence[Record]) -> list[Record]:
    """Read every job's record; those that never began (an interrupt) wait still."""
    found = [read_record(folder, r.number) or r for r in records]
    return [replace(f, note=f.note or r.note) for f, r in zip(found, records, strict=True)]


def _baseline(steering: Steering, checked: Sequence[Checked], request: Request) -> int:
    """Return the job that shifts are measured from: the one asked for, else the one that is the config as shipped."""
    from bayesrun.provenance import config_digest

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
    request: Request,
    folder: Path,
    records: Sequence[Record],
    baseline: int,
    parent: Any,
    interrupted: bool,
    began: float,
) -> int:
    from bayesrun.sweep.answer import answer

    for record in records:
        if record.note.startswith("reused"):
            print(line(record, len(records)))
    write_state(request.arguments, folder, records)
    result = in_worker(answer, folder, records, baseline, time.perf_counter() - began)
    parent.close(records, interrupted)
    print(result.text, flush=True)
    end_workers()
    if interrupted:
        print(f"interrupted; to finish it: python -m bayesrun resume={folder}", file=sys.stderr)
        return INTERRUPTED
    # a job alone that was interrupted (cancelled on the cluster) is no end of the sweep
    cut_short = any(r.interrupted for r in records)
    return 1 if result.failed or cut_short else max((r.exit_status for r in records), default=0)


def _search(request: Request, steering: Steering, began: float) -> int:
    """Let a sweeper that chooses its points as it goes (optuna) run them."""
    from bayesrun.sweep.parent import Parent

    overrides = task_overrides(request.config.hydra)
    fixed = [o for o in overrides if not _is_swept(o)]
    base, _ = request.compose(fixed)
    folder = claim(Path(str(request.config.hydra.sweep.dir)))
    write_state(request.arguments, folder, [])
    parent = Parent.open(request.config, base, folder, 0, [])
    task = JobTask(request.run, folder, {}, parent.run_id, steering.fail_fast, steering.sweep.metric, tuple(fixed))
    interrupted = False
    hydra = _hydra(request, folder)
    try:
        hydra.sweeper(task).sweep(arguments=overrides)
    except KeyboardInterrupt:
        interrupted = True
    numbers = sorted(int(p.stem) for p in (folder / JOBS).glob("*.json"))
    records = [r for r in (read_record(folder, n) for n in numbers) if r]
    return _finish(request, folder, records, 0, parent, interrupted, began)


def _is_swept(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed.is_sweep_override()

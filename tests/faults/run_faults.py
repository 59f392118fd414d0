"""Faults that hit a run, or the job of a sweep, at a moment of its life."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.bench import CHAINS, DRAWS, FEW, LEAN, TUNING, Place, last_lines
from tests.faults.judging import (
    Outcome,
    kept_at_least,
    may_be_behind,
    posterior,
    shape_of,
    status_of,
    stored_draws,
)
from tests.faults.started_run import StartedRun, wait_until

_AFTER = {
    "storing": "bayesrun: sample:",
    "diagnosis": "bayesrun: predict:",
    "figures": "bayesrun: verdict:",
    "tracking": "bayesrun: draw:",
}
"""Line of the log that a step before the moment writes."""
_DELAYS = {
    "import": 1.0,
    "compile": 0.8,
    "tuning": 0.3,
    "sampling": 1.5,
    "storing": 0.15,
    "diagnosis": 0.2,
    "figures": 0.8,
    "tracking": 0.3,
    "end": 0.2,
}
"""Longest time in seconds from the moment's beginning to the fault."""
_SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}
_ENDED_BY_SIGNAL = (0, 129, 130, 143)
_SWEEP_DRAWS = 400


def strike(place: Place) -> Outcome:
    """Start a run, let the case's fault happen to it, and judge what is left."""
    if place.case.moment == "sweep job":
        return _strike_a_sweep(place)
    run, model, draws = _start(place)
    came = _wait_for_moment(run, place)
    place.outcome.missed = not came
    folder, at = run.folder(), time.monotonic()
    stored = stored_draws(folder) if folder else {}
    statuses = _do(place, run) if came else (0,)
    place.judge_end(run, statuses)
    _after_the_end(place)
    folder = run.folder() or folder
    if folder is not None and not folder.exists():
        folder = None
    if place.case.fault == "power cut" and came and folder:
        stored = stored_draws(folder)
    at_least = max(kept_at_least(stored), may_be_behind(run.told, CHAINS * TUNING, at))
    if place.case.moment in (*_AFTER, "end") or place.outcome.missed:
        at_least = CHAINS * draws
    if place.case.fault == "kill -9 of a chain" and came:
        at_least = _without_chain(stored)
    place.recover(folder)
    if folder is not None and (at_least or (folder / "posterior.nc").is_file()):
        place.judge_draws(folder, model, at_least)
    elif at_least:
        place.outcome.draws_lost += at_least
    if place.case.fault == "kill -9 of a chain" and not place.outcome.missed and folder is not None:
        told = (folder / "findings.json").is_file() and "was killed by signal 9" in (
            folder / "findings.json"
        ).read_text()
        place.expect(told or _has_all(folder, draws), "the verdict does not say that a chain is missing")
        ends = [path.read_bytes()[-64:] for path in folder.glob("draws/*/chain-*.draws")]
        place.expect(all(any(end) for end in ends if end), "reserved space is left in draws/")
    place.judge_status()
    place.judge_secrets()
    return place.outcome


def _has_all(folder: Path, draws: int) -> bool:
    """Say whether the chain that was killed had ended before."""
    return (folder / "posterior.nc").is_file() and shape_of(posterior(folder)) == (CHAINS, draws)


def _without_chain(stored: dict[int, int]) -> int:
    """Return what is kept at least when any one chain is lost."""
    return min((kept_at_least({n: c for n, c in stored.items() if n != gone}) for gone in stored), default=0)


def _start(place: Place) -> tuple[StartedRun, str, int]:
    """Start the run that suits the moment: long for moments while it samples, with all steps for those after."""
    case, chance = place.case, place.chance
    while_it_samples = case.moment in ("tuning", "sampling")
    model = chance.choice(("nutpie", "nutpie", "compound")) if case.moment == "sampling" else "nutpie"
    draws = DRAWS[model] if while_it_samples or case.moment in ("import", "compile") else FEW
    tracked = case.moment == "tracking" or "tracker" in case.fault or chance.random() < 0.25
    steps = LEAN if while_it_samples else ("model.figures=[forest,trace]", "predictive.prior=100")
    words = [
        *place.secret_tags(),
        *place.bench.settings(model, draws),
        *steps,
        f"tracking={'mlflow' if tracked else 'none'}",
    ]
    on_disk = "disk" in case.fault or case.fault == "power cut"
    place.outcome.happened = f"{model}{', tracked' if tracked else ''}"
    return place.start(*words, **(place.disk.environment() if on_disk else {})), model, draws


def _wait_for_moment(run: StartedRun, place: Place) -> bool:
    """Wait until the moment has come, and as much longer as the case says."""
    moment, delay = place.case.moment, place.chance.uniform(0, _DELAYS[place.case.moment])

    def has_come() -> bool:
        folder = run.folder()
        if moment == "import":
            return _hears_signals(run.process.pid)
        if moment == "compile":
            return run.maps("lazylinker_ext") or folder is not None
        if moment == "tuning":
            return folder is not None and any(folder.glob("draws/1/layout.json"))
        if moment == "sampling":
            return folder is not None and len(stored_draws(folder)) == CHAINS
        if moment == "end":
            return folder is not None and status_of(folder) == "finished"
        return run.log_holds(_AFTER[moment])

    if not wait_until(has_come, run):
        return False
    end = time.monotonic() + delay
    place.outcome.happened += f", {delay:.2f} s after its beginning"
    while time.monotonic() < end and not run.ended:
        time.sleep(0.002)
    return not run.ended


def _hears_signals(pid: int) -> bool:
    """Say whether a process has begun to answer SIGTERM by itself."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
        return bool(caught & 1 << signal.SIGTERM - 1)
    return False


def _do(place: Place, run: StartedRun) -> tuple[int, ...]:
    """Let the fault happen; return the exit statuses that are right after it."""
    fault, chance = place.case.fault, place.chance
    if fault in _SIGNALS:
        number, group = _SIGNALS[fault], chance.random() < 0.5
        place.outcome.happened += ", to the group" if group else ""
        run.signal(number, group)
        return _ENDED_BY_SIGNAL
    if fault == "many signals":
        return _many_signals(place, run)
    if fault == "terminal closed":
        run.hang_up()
        return _ENDED_BY_SIGNAL
    if fault == "kill -9 of the run":
        if chance.random() < 0.5:
            run.process.kill()
        else:
            place.outcome.happened += ", all of its group"
            run.signal(signal.SIGKILL, group=True)
        return (-signal.SIGKILL, 0) if place.case.moment == "end" else (-signal.SIGKILL,)  # it may just have ended
    if fault == "power cut":
        run.kill_all()
        return (-signal.SIGKILL,)
    if fault == "kill -9 of a chain":
        wait_until(lambda: len(run.chains()) == CHAINS, run, 3.0)
        return _kill(place, chance.choice(run.chains() or [None]))
    if fault == "kill -9 of the tracker":
        return _kill(place, run.tracker())
    place.disk.fail(fault.split()[0])
    return (0, 1, 4)


def _many_signals(place: Place, run: StartedRun) -> tuple[int, ...]:
    """Send several signals, of several kinds, some of them typed."""
    chance = place.chance
    count, apart = chance.randint(2, 10), chance.choice((0.0, 0.02, 0.1, 0.4, 1.2))
    place.outcome.happened += f", {count} signals {apart} s apart"
    for _ in range(count):
        if chance.random() < 0.4:
            run.type_ctrl_c()
        else:
            run.signal(chance.choice(list(_SIGNALS.values())), group=True)
        time.sleep(apart)
        if run.ended:
            break
    return _ENDED_BY_SIGNAL


def _kill(place: Place, process: psutil.Process | None) -> tuple[int, ...]:
    place.outcome.missed = process is None
    if process:
        with suppress(psutil.Error):
            process.kill()
    return (0,)


def _after_the_end(place: Place) -> None:
    """Let the power come back, or the disk be well again."""
    if place.case.fault == "power cut" and not place.outcome.missed:
        lost = place.disk.cut_power(place.chance)
        place.outcome.happened += f", not synced: {', '.join(lost) or 'nothing'}"
    elif "disk" in place.case.fault:
        place.disk.repair()


def _strike_a_sweep(place: Place) -> Outcome:
    """Let the fault happen while a sweep runs; `resume` finishes it, and jobs that were done stay as they are."""
    chance = place.chance
    launcher = chance.choice(("basic", "parallel"))
    size = [f"sampler.draws={_SWEEP_DRAWS}", "sampler.tune=300", "sampler.chains=2", "sampler.progress=false"]
    words = ["model=eight_schools", *size, *LEAN, "tracking=none", f"launcher={launcher}", "seed=1,2,3"]
    on_disk = place.case.fault == "power cut"
    tags = place.secret_tags()
    run = place.start("-m", *tags, *words, **(place.disk.environment() if on_disk else {}))
    wanted = chance.randint(0, 2)
    came = wait_until(lambda: len(list(place.outputs.glob("sweeps/*/*/[0-9]/run.log"))) > wanted, run)
    time.sleep(chance.uniform(0, 1.0))
    place.outcome.missed = not came or run.ended
    place.outcome.happened = f"{launcher}, job {wanted}"
    before = _finished(place) if not on_disk else {}
    statuses = _do(place, run) if not place.outcome.missed else (0,)
    place.judge_end(run, statuses)
    _after_the_end(place)
    sweeps = [path for path in place.outputs.glob("sweeps/*/*") if path.is_dir()]
    if not place.expect(len(sweeps) == 1, f"sweep folders: {sweeps}"):
        return place.outcome
    done = place.command(f"resume={sweeps[0]}", "launcher=basic")
    place.expect(
        done.returncode == 0, f"resume: exit status {done.returncode}: {last_lines(done.stdout + done.stderr)}"
    )
    after = _finished(place)
    place.expect(len(after) == 3, f"{len(after)} of 3 jobs are finished")
    for job, posterior_time in before.items():
        if after.get(job) != posterior_time:
            place.wrong(f"job {job} was finished and was run again")
            place.outcome.draws_lost += 2 * _SWEEP_DRAWS
    place.judge_status()
    place.judge_secrets()
    return place.outcome


def _finished(place: Place) -> dict[str, float]:
    """Return when the posterior of each finished job was written; it must hold all draws."""
    found = {}
    for record in place.outputs.glob("sweeps/*/*/.jobs/*.json"):
        folder = next(iter(place.outputs.glob(f"sweeps/*/*/{record.stem}")), None)
        if folder is not None and status_of(folder) == "finished":
            found[record.stem] = (folder / "posterior.nc").stat().st_mtime
            place.expect(shape_of(posterior(folder)) == (2, _SWEEP_DRAWS), f"job {record.stem} has lost draws")
    return found

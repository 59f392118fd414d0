"""Faults of what is around a run: its outputs folder, tracking server, compile cache, and the configs it is given."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from tests.faults.bench import CHAINS, FEW, LEAN, Place, last_lines, with_password
from tests.faults.faulty_server import HOW, Gateway, faulty_server
from tests.faults.judging import Outcome
from tests.faults.started_run import wait_until
from tests.integration.mlflow_server import mlflow_server
from tests.planted_code import CALLBACK, EXPERIMENTS, OURS, PRIMARY, plant, write_planted
from tests.postgresql import free_port
from tests.secret_forms import URIS, WRONG

_WAIT = 5.0
"""Seconds that a run may wait for its tracking server, in all."""
_SLACK = 3.0
"""Seconds for MLflow's imports, which only a tracked run has, on a busy machine."""
_TINY = ("model=linear_regression", "sampler=prior", "sampler.draws=20", "model.figures=[]")


def outputs_that_cannot_be_written(place: Place) -> Outcome:
    """Name an outputs folder that is a file, lies below one, or can't be made: one message, before anything is run."""
    file = place.outputs / "a file"
    file.write_text("mine")
    places = {
        "a file": file,
        "below a file": file / "x" / "y",
        "a device": Path("/dev/null"),
        "below a device": Path("/dev/full/out"),
        "the kernel's": Path("/proc/out"),
        "a link to nowhere": place.outputs / "link",
    }
    (place.outputs / "link").symlink_to("/proc/nowhere/out")
    what = place.chance.choice(sorted(places))
    place.outcome.happened = what
    sweeps = ("-m", "seed=1,2") if place.case.moment == "sweep job" else ()
    done = place.bench.command(*sweeps, *_TINY, "tracking=none", f"paths.outputs={places[what]}", **place.variables)
    said = done.stdout + done.stderr
    place.expect(done.returncode == 1, f"exit status {done.returncode}: {last_lines(said)}")
    place.expect("Traceback" not in said, f"a traceback: {last_lines(said)}")
    place.expect("paths.outputs" in said, f"the key is not named: {last_lines(said)}")
    place.expect(file.read_text() == "mine", "the file was changed")
    return place.outcome


def tracking_server(place: Place) -> Outcome:
    """Let a server fail from the start, or while the run samples or is uploaded: it costs 5 s; it is sent later."""
    with ExitStack() as stack:
        if place.case.moment in ("import", "sweep job"):
            how = place.chance.choice(HOW)
            url = stack.enter_context(faulty_server(how))
            gateway = None
        else:
            how = place.chance.choice(("closing", "hanging"))
            port = free_port()
            store = f"sqlite:///{place.folder}/server.db"
            stack.enter_context(mlflow_server(place.folder, store, port=port))
            gateway = stack.enter_context(closing(Gateway(port)))
            url = gateway.url
        place.outcome.happened = how
        if place.case.moment == "sweep job":
            return _sweep_without_server(place, url)
        return _run_without_server(place, url, how, gateway)


def _run_without_server(place: Place, url: str, how: str, gateway: Gateway | None) -> Outcome:
    words = [*place.bench.settings("nutpie", FEW if gateway is None else 5 * FEW), *LEAN, "sampler.progress=false"]
    alone = _seconds(lambda: place.command(*words, "tracking=none"))
    run = place.start(*place.secret_tags(), *words, "tracking=server", f"tracking.uri={url}")
    if gateway:
        line = "first draw" if place.case.moment == "sampling" else "bayesrun: diagnose:"
        place.outcome.missed = not wait_until(lambda: run.log_holds(line), run)
        gateway.cut(how)
    place.judge_end(run, (0,))
    taken, folder = time.monotonic() - run.began, run.folder()
    _judge_time(place, taken, alone, lambda: place.command(*words, "tracking=none"))
    if not place.expect(folder, "there is no run folder"):
        return place.outcome
    assert folder is not None
    place.judge_draws(folder, "nutpie", CHAINS * (FEW if gateway is None else 5 * FEW))
    if not place.outcome.missed:
        place.expect(run.output.count("not in MLflow yet") == 1, f"the loss is not told once: {last_lines(run.output)}")
    if gateway:
        gateway.restore()
        target, database = [f"tracking.uri={url}"], place.folder / "server.db"
    else:
        database = place.outputs / "mlflow.db"
        target = [f"tracking.uri=sqlite:///{database}"]
    for _ in range(2):
        place.command("task=sync", f"run={folder}", *target)
    states = _states(database)
    place.expect(states == ["FINISHED"], f"after two task=sync the store has {states}")
    place.judge_secrets()
    return place.outcome


def _sweep_without_server(place: Place, url: str) -> Outcome:
    """Run eight jobs in two workers; none of them may wait for the server again and again."""
    jobs = ["-m", *_TINY, "seed=range(0,8)", "launcher=parallel", "hydra.launcher.n_jobs=2", "sweep.figures=[]"]
    alone = _seconds(lambda: place.command(*jobs, "tracking=none"))
    run = place.start(*place.secret_tags(), *jobs, "force=true", "tracking=server", f"tracking.uri={url}")
    place.judge_end(run, (0,))
    taken = time.monotonic() - run.began
    _judge_time(place, taken, alone, lambda: place.command(*jobs, "force=true", "tracking=none"))
    sweeps = [path.parent for path in place.outputs.glob("sweeps/*/*/tracking.json")]
    place.expect(len(sweeps) == 1, f"sweeps that can be sent later: {len(sweeps)}")
    database = place.outputs / "mlflow.db"
    for _ in range(2):
        place.command("task=sync", f"tracking.uri=sqlite:///{database}")
    states = _states(database)
    place.expect(states == ["FINISHED"] * 9, f"after two task=sync the store has {states}")
    place.judge_secrets()
    return place.outcome


def _states(database: Path) -> list[str]:
    if not database.is_file():
        return ["no store"]
    with closing(sqlite3.connect(database)) as connection:
        return [
            str(state) for (state,) in connection.execute("select status from runs where lifecycle_stage = 'active'")
        ]


def _judge_time(place: Place, taken: float, alone: float, again: Callable[[], object]) -> None:
    """Judge how long tracking kept a command, beside the same command without it: if need be also after it.

    The speed of a machine that others use changes from one command to the next.
    """
    if taken >= 1.5 * alone + _WAIT + _SLACK:
        alone = max(alone, _seconds(again))
    place.expect(taken < 1.5 * alone + _WAIT + _SLACK, f"{taken:.1f} s, {alone:.1f} s without tracking")


def _seconds(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def corrupt_compile_cache(place: Place) -> Outcome:
    """Damage modules of the compile cache that the run will load: they are found and made again."""
    words = [*place.bench.settings("nutpie", FEW), *LEAN, "tracking=none"]
    first = place.start(*words)
    used: set[str] = set()
    while not first.ended:
        maps = Path(f"/proc/{first.process.pid}/maps")
        used |= set(re.findall(r"/\S*compiledir_\S*\.so", maps.read_text() if maps.exists() else ""))
        time.sleep(0.05)
    place.judge_end(first, (0,))
    base = next(iter({path.partition("/compiledir_")[0] for path in used}), None)
    if base is None:
        place.outcome.missed = True
        return place.outcome
    copy = place.folder / "cache"
    # what other processes are compiling just now comes and goes
    shutil.copytree(base, copy, symlinks=True, ignore=shutil.ignore_patterns("tmp*"))
    damaged = [_damage(place, copy / Path(path).relative_to(base)) for path in _some(place, used)]
    place.outcome.happened = ", ".join(damaged)
    flags = f"{os.environ.get('THEANO_FLAGS', '')},base_compiledir={copy}".lstrip(",")
    shutil.rmtree(place.outputs)
    place.outputs.mkdir()
    for _ in range(2):
        run = place.start(*words, THEANO_FLAGS=flags)
        place.judge_end(run, (0,))
        folder = run.folder()
        if place.expect(folder, "there is no run folder") and folder is not None:
            place.judge_draws(folder, "nutpie", CHAINS * FEW)
    return place.outcome


def _some(place: Place, used: set[str]) -> list[str]:
    modules = sorted(used)
    return place.chance.sample(modules, min(len(modules), place.chance.randint(1, 3)))


def _damage(place: Place, path: Path) -> str:
    how = place.chance.choice(("empty", "half", "zeros", "flipped", "text"))
    content = path.read_bytes()
    at = place.chance.randrange(len(content))
    damaged = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "zeros": content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        "flipped": content[:at] + bytes(byte ^ 0x5A for byte in content[at : at + 4000]) + content[at + 4000 :],
        "text": b"no library\n" * 500,
    }[how]
    path.unlink()
    path.write_bytes(damaged)
    return f"{path.parent.name[:12]} {how}"


def config_that_runs_code(place: Place) -> Outcome:
    """Plant code, and a config that would run it, in one of many forms, files and commands: nothing is run."""
    own = place.folder / "own"
    own.mkdir()
    plant(own)
    chance = place.chance
    file = chance.choice(("experiment", "model", "primary", "run folder"))
    forms = {**EXPERIMENTS, **PRIMARY} if file == "primary" else EXPERIMENTS
    name = chance.choice(sorted(forms))
    if file == "run folder":
        job = place.command("model=linear_regression", "--cfg=job").stdout
        name = chance.choice(("a callback", "a class of bayesrun's"))
        text = job + (CALLBACK if name == "a callback" else OURS)
        path, words = own / "config.yaml", ["--config-name=config"]
    elif file == "primary":
        path, text, words = own / "own.yaml", forms[name], ["--config-name=own"]
        if "defaults:" not in text:
            text = "defaults: [main]\n" + text if chance.random() < 0.5 else text
    else:
        path, text = own / file / "evil.yaml", "# @package _global_\n" + forms[name]
        words = [f"{file}=evil", *(["model=linear_regression"] if file == "experiment" else [])]
    write_planted(path, text, own)
    command = {
        "import": [],
        "sweep job": ["-m", "seed=1,2"],
        "end": [chance.choice(("task=recover", "--cfg=all", "--help"))],
    }
    before = {str(path) for path in own.rglob("*")}
    place.outcome.happened = f"{name}, in the {file}, {command[place.case.moment]}"
    searched = f"{own}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    size = ["sampler.draws=20", "sampler.chains=1", "tracking.backend=none"]
    done = place.command(f"--config-dir={own}", *command[place.case.moment], *words, *size, PYTHONPATH=searched)
    if place.case.moment != "end":  # what only asks may answer
        place.expect(done.returncode == 1, f"exit status {done.returncode}: {last_lines(place.said[-1])}")
    new = {str(path) for path in own.rglob("*") if "__pycache__" not in str(path)} - before
    place.outcome.code += sorted(new)
    if list(own.glob("__pycache__/planted*")):
        place.outcome.code.append("the planted module was imported")
    return place.outcome


def secret(place: Place) -> Outcome:
    """Give a secret in one of many forms and places; it is found in nothing that is written or said."""
    chance = place.chance
    if place.case.moment == "import":
        name = chance.choice(sorted(WRONG))
        words = [with_password(word, place.password, place.blank) for word in WRONG[name]]
        place.outcome.happened = f"a wrong config: {name}"
        done = place.command(*words, HYDRA_FULL_ERROR=chance.choice("01"))
        place.said[-1] = done.stdout + done.stderr
        place.outcome.wrong = []  # a traceback was asked for
        place.expect(done.returncode == 1, f"exit status {done.returncode}: {last_lines(place.said[-1])}")
    elif place.case.moment == "sweep job":
        names = chance.sample(sorted(URIS), 2)
        uris = ",".join(f"'{with_password(URIS[name], place.password, place.blank)}'" for name in names)
        place.outcome.happened = f"swept URIs: {names}"
        swept = ["-m", *_TINY, "tracking.timeout=1", f"tracking.uri={uris}", "sweep.figures=[]"]
        done = place.command(*place.secret_tags(), *swept)
        place.expect(done.returncode == 0, f"exit status {done.returncode}: {last_lines(place.said[-1])}")
    else:
        name = chance.choice(sorted(URIS))
        uri = with_password(URIS[name], place.password, place.blank)
        place.outcome.happened = f"a tracking URI: {name}"
        words = [*place.secret_tags(), *_TINY[:1], *LEAN, "tracking.timeout=1", f"tracking.uri='{uri}'"]
        run = place.start(*words, "sampler.draws=2000", "sampler.chains=2", "sampler.tune=300")
        if place.case.moment == "sampling" and wait_until(lambda: run.log_holds("first draw"), run):
            run.signal(signal.SIGINT, group=True)
        place.judge_end(run, (0, 130))
        place.judge_status()
    place.judge_secrets()
    return place.outcome


FAULTS: dict[str, Callable[[Place], Outcome]] = {
    "outputs can't be written": outputs_that_cannot_be_written,
    "tracking server": tracking_server,
    "corrupt compile cache": corrupt_compile_cache,
    "config that runs code": config_that_runs_code,
    "secret": secret,
}
"""What each of them does; the others strike a run (`run_faults.strike`)."""

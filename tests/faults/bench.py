"""Cases through the real command: a run is started, something happens to it, and what is left is judged."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psutil
import yaml
from filelock import FileLock

from tests.conftest import ROOT
from tests.faults.faulty_disk import FaultyDisk
from tests.faults.judging import (
    Draws,
    Outcome,
    draws_unlike,
    missing_files,
    posterior,
    secrets_in,
    shape_of,
    status_of,
    still_running,
)
from tests.faults.matrix import Case
from tests.faults.started_run import PATIENCE, StartedRun
from tests.secret_forms import BLANK, PW, TAGS

CHAINS = 2
TUNING = 1000
MODELS = {
    "nutpie": ("model=eight_schools", "sampler.target_accept=0.9"),
    "compound": ("model=switchpoint", "model.options.form=compound"),
}
DRAWS = {"nutpie": 20_000, "compound": 3_000}
FEW = 1_500
LEAN = ("model.figures=[]", "predictive.prior=0", "predictive.posterior=false", "diagnostics.log_likelihood=false")
_LINGER = 8.0


@dataclass
class Bench:
    """Where cases are run, and what clean runs of the same seed drew.

    Parameters
    ----------
    folder
        For everything that is written.
    seed
        The matrix's; also that of all runs.
    """

    folder: Path
    seed: int
    _clean: dict[str, Draws] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def settings(self, model: str, draws: int) -> list[str]:
        """Return the overrides of a run."""
        size = [
            f"sampler.draws={draws}",
            f"sampler.tune={TUNING}",
            f"sampler.chains={CHAINS}",
            f"sampler.cores={CHAINS}",
        ]
        return [*MODELS[model], *size, f"seed={self.seed}"]

    def clean(self, model: str) -> Draws:
        """Return what a run draws to which nothing happens; made once, also for other processes of this bench."""
        if model not in self._clean:
            outputs = self.folder / f"clean-{model}"
            with FileLock(self.folder / f"{model}.lock"):
                if not list(outputs.glob("runs/*/*/status.json")):
                    self.command(
                        *self.settings(model, DRAWS[model]), *LEAN, "tracking=none", f"paths.outputs={outputs}"
                    )
            (folder,) = (path.parent for path in outputs.glob("runs/*/*/posterior.nc"))
            self._clean[model] = posterior(folder)
        return self._clean[model]

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "bayesrun", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def variables(self) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(self.folder / "state"), "MLFLOW_DISABLE_TELEMETRY": "true"}


class Place:
    """The folders, the secret and the choices of one case.

    Parameters
    ----------
    bench
        Of all cases.
    case
        Which one.
    """

    def __init__(self, bench: Bench, case: Case) -> None:
        self.bench, self.case, self.chance = bench, case, case.chance()
        self.folder = bench.folder / f"case-{case.number}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.outputs, self.state = self.folder / "outputs", self.folder / "state"
        self.outputs.mkdir(parents=True)
        self.password, self.blank = _password(self.chance), _password(self.chance, " ")
        self.started: list[StartedRun] = []
        self.said: list[str] = []
        self.outcome = Outcome(case)

    @cached_property
    def disk(self) -> FaultyDisk:
        return FaultyDisk(self.outputs, self.folder / "disk")

    @property
    def variables(self) -> dict[str, str]:
        return {**self.bench.variables, "XDG_STATE_HOME": str(self.state)}

    def secret_tags(self) -> list[str]:
        """Return the words that give a run tags with secrets in some of their forms."""
        forms = self.chance.sample(sorted(TAGS), 4)
        tags = {name: with_password(TAGS[name], self.password, self.blank) for name in forms}
        file = self.folder / "own" / "experiment" / "tagged.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# @package _global_\n" + yaml.safe_dump({"tags": tags}))
        return ["--config-dir", str(file.parents[1]), "experiment=tagged"]

    def start(self, *arguments: str, **variables: str) -> StartedRun:
        run = StartedRun(arguments, self.outputs, {**self.variables, **variables})
        self.started.append(run)
        return run

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and keep what it said."""
        done = self.bench.command(*arguments, f"paths.outputs={self.outputs}", **{**self.variables, **variables})
        self.said.append(done.stdout + done.stderr)
        if "Traceback" in self.said[-1]:
            self.wrong(f"a traceback: {last_lines(self.said[-1])}")
        return done

    def wrong(self, what: str) -> None:
        self.outcome.wrong.append(what)

    def expect(self, holds: object, otherwise: str) -> bool:
        if not holds:
            self.wrong(otherwise)
        return bool(holds)

    def judge_end(self, run: StartedRun, statuses: tuple[int, ...]) -> None:
        """Judge how a command ended: in time, as it should, without a traceback, and with all of its processes."""
        status = run.wait()
        self.said.append(run.output)
        if not self.expect(status is not None, f"it did not end within {PATIENCE:.0f} s: {last_lines(run.output)}"):
            return
        self.expect(status in statuses, f"exit status {status}, expected {statuses}: {last_lines(run.output)}")
        self.expect("Traceback" not in run.output, f"a traceback: {last_lines(run.output, 12)}")
        end = time.monotonic() + _LINGER
        while (left := run.left_processes()) and time.monotonic() < end:
            time.sleep(0.1)
        self.expect(not left, f"processes are left: {[_command_of(pid) for pid in left]}")

    def judge_secrets(self) -> None:
        """Look for the secret in all that was written and said."""
        words = {*_parts(self.password), *_parts(self.blank)}
        self.outcome.secrets += secrets_in(words, [self.outputs, self.state], *self.said)

    def judge_draws(self, folder: Path, model: str, at_least: int) -> None:
        """Compare the posterior with the clean run's, and with what must have been kept."""
        kept: Draws = posterior(folder) if (folder / "posterior.nc").is_file() else {}
        chains, length = shape_of(kept)
        self.outcome.happened += f", {chains * length:,} of {at_least:,} draws or more"
        self.outcome.draws_lost += max(0, at_least - chains * length)
        if not kept:
            return
        unlike = draws_unlike(kept, self.bench.clean(model))
        self.expect(not unlike, f"{unlike} draws are not those of a clean run")
        self.outcome.draws_lost += unlike
        missing = missing_files(folder)
        self.expect(not missing, f"missing in the run folder: {missing}")

    def recover(self, folder: Path | None) -> None:
        """Do what a user does after a crash, where the run folder is not whole."""
        if folder is None or (status_of(folder) in ("finished", "partial") and not missing_files(folder)):
            return
        if status_of(folder) == "failed" and not (folder / "draws").exists() and not (folder / "posterior.nc").exists():
            return
        ways = [("task=recover", f"run={folder}")]
        if status_of(folder) == "running":  # a run that died is found by itself
            ways += [
                ("task=recover",),
                ("model=linear_regression", "sampler=prior", "model.figures=[]", "tracking=none"),
            ]
        done = self.command(*self.chance.choice(ways))
        said = last_lines(done.stdout + done.stderr)
        self.expect(done.returncode in (0, 1), f"task=recover: exit status {done.returncode}: {said}")

    def judge_status(self) -> None:
        """No status stays `running`, in the run folders and in MLflow."""
        for path in self.outputs.rglob("status.json"):
            status = status_of(path.parent)
            self.expect(status in ("finished", "partial", "failed"), f"the status of {path.parent.name} is {status}")
        database = self.outputs / "mlflow.db"
        if database.is_file():
            if still_running(database, 10.0):  # both the run and its tracker were killed
                self.command("task=sync", "tracking=mlflow")
            running = still_running(database)
            self.expect(not running, f"{running} runs are RUNNING in MLflow")

    def clean_up(self) -> None:
        for run in self.started:
            run.clean_up()
        for process in psutil.process_iter(["cmdline", "environ"]):  # trackers that go on trying for minutes
            if (process.info["environ"] or {}).get("XDG_STATE_HOME") == str(self.state):
                process.kill()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def with_password(text: str, password: str, blank: str) -> str:
    """Put a case's secrets into one of the forms; in URLs and connection strings as their rules ask for."""
    is_free = text in (PW, BLANK)
    safe = password if is_free else quote(password, safe="")
    return text.replace(BLANK, blank if is_free else re.sub(r"[^\w ]", "x", blank)).replace(PW, safe)


def _password(chance: random.Random, between: str | None = None) -> str:
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    halves = ["".join(chance.choices(letters, k=9)) for _ in range(2)]
    return (between or "".join(chance.choices("@:/?#!$&*+=%~^.,;-_", k=chance.randint(1, 3)))).join(halves)


def _parts(password: str) -> list[str]:
    return [part for part in re.split(r"[^a-zA-Z0-9]+", password) if len(part) == 9]


def last_lines(text: str, count: int = 4) -> str:
    return " / ".join([line.strip() for line in text.strip().splitlines() if line.strip()][-count:])[-900:]


def _command_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[-120:]
    except psutil.Error:
        return str(pid)

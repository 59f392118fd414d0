"""What was killed is recovered by the next command; `task=recover` leaves alone what goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from tests.faults.judging import stored_draws

LONG = [
    *("model=switchpoint", "model.options.form=compound", "model.figures=[]", "predictive.prior=0"),
    *("predictive.posterior=false", "diagnostics.log_likelihood=false", "tracking=none", "sampler.progress=false"),
    *("sampler.draws=100000", "sampler.tune=500", "sampler.chains=2"),
]
SHORT = [
    *("model=linear_regression", "sampler=prior", "sampler.draws=20", "model.figures=[]", "report=false"),
    *("tracking=none", "name=next"),
]


@contextmanager
def _sampling(outputs: Path, *words: str, within: Sequence[str] = ()) -> Iterator[Path]:
    """Start a command in a session of its own; yields the first folder that has draws, and kills all of it."""
    command = [*within, sys.executable, "-m", "bayesrun", *words, *LONG, f"paths.outputs={outputs}"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        try:
            while not (
                found := [path for path in outputs.rglob("chain-0.draws") if path.read_bytes()[:8].strip(b"\0")]
            ):
                assert process.poll() is None
                time.sleep(0.1)
            yield found[0].parents[2]
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _status(folder: Path) -> str:
    return str(json.loads((folder / "status.json").read_text())["status"])


def test_a_run_that_goes_on_is_not_recovered_until_it_is_killed(bayesrun: Command, tmp_path: Path) -> None:
    here = f"paths.outputs={tmp_path}"
    with _sampling(tmp_path) as folder:
        for words in ([here], []):  # whatever outputs folder the command has
            done = bayesrun("task=recover", f"run={folder}", *words)
            assert done.returncode == 1
            assert "is still running" in done.stderr
        assert "no run died" in bayesrun("task=recover", here).stdout
        assert (folder / "draws").is_dir()
    assert "recovered" in bayesrun("task=recover", here).stdout
    assert _status(folder) == "partial"
    assert not (folder / "draws").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can make a namespace")
def test_a_run_of_another_container_is_recovered_only_on_request(bayesrun: Command, tmp_path: Path) -> None:
    here = f"paths.outputs={tmp_path}"
    with _sampling(tmp_path, within=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")) as folder:
        done = bayesrun("task=recover", f"run={folder}", here)
        assert done.returncode == 1
        assert "another container" in done.stderr
        said = bayesrun("task=recover", here).stdout
        assert f"task=recover run={folder} force=true" in said
        assert _status(folder) == "running"
    done = bayesrun("task=recover", f"run={folder}", here, "force=true")
    assert done.returncode == 0, done.stderr
    assert _status(folder) == "partial"


def test_a_sweep_that_goes_on_is_neither_resumed_nor_recovered(bayesrun: Command, tmp_path: Path) -> None:
    with _sampling(tmp_path, "-m", "seed=1,2") as folder:
        for word, said in {
            f"resume={folder.parent}": "is still running",
            f"run={folder.parent}": f"-m resume={folder.parent}",
            f"run={folder}": "is still running",
        }.items():
            done = bayesrun(*(["-m"] if "resume" in word else ["task=recover"]), word)
            assert done.returncode == 1
            assert said in done.stderr, done.stderr
        assert (folder / "draws").is_dir()


@pytest.mark.parametrize("words", [SHORT, ["-m", "seed=1,2", *SHORT], ["task=report", "run=last"]])
def test_any_next_command_recovers_a_killed_run(bayesrun: Command, tmp_path: Path, words: list[str]) -> None:
    with _sampling(tmp_path) as folder:
        pass
    assert _status(folder) == "running"
    done = bayesrun(*words, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"{folder}: recovered" in done.stdout
    assert "PyMC" not in done.stderr  # what the library says of itself when it is imported
    assert _status(folder) == "partial"
    assert not list(tmp_path.glob(".running/*.json"))


@pytest.mark.parametrize("launcher", ["basic", "parallel"])
def test_the_next_command_recovers_the_jobs_of_a_killed_sweep(bayesrun: Command, tmp_path: Path, launcher: str) -> None:
    here = f"paths.outputs={tmp_path}"
    with _sampling(tmp_path, "-m", "seed=1,2", f"launcher={launcher}", "sweep.figures=[]") as folder:
        done = bayesrun(*SHORT, here)
        assert done.returncode == 0, done.stderr
        assert "recovered" not in done.stdout
        assert _status(folder) == "running"
    sweep = folder.parent
    done = bayesrun(*SHORT, here)
    assert done.returncode == 0, done.stderr
    assert f"{folder}: recovered" in done.stdout
    assert done.stdout.count(f"resume={sweep}") == 1
    assert _status(folder) == "partial"
    assert "running" not in {_status(path.parent) for path in sweep.glob("*/status.json")}
    assert not list(tmp_path.glob(".running/*.json"))
    posterior = (folder / "posterior.nc").read_bytes()
    _is_finished_by_resume(bayesrun, sweep, here)
    aside = next(path for path in sweep.glob(f".unfinished/{folder.name}_*") if (path / "posterior.nc").is_file())
    assert (aside / "posterior.nc").read_bytes() == posterior


def test_resume_keeps_the_draws_of_killed_jobs(bayesrun: Command, tmp_path: Path) -> None:
    here = f"paths.outputs={tmp_path}"
    with _sampling(tmp_path, "-m", "seed=1,2", "sweep.figures=[]") as folder:
        pass
    stored = stored_draws(folder)
    assert stored
    done = _is_finished_by_resume(bayesrun, folder.parent, here)
    assert "recovered" not in done
    (aside,) = folder.parent.glob(f".unfinished/{folder.name}_*")
    assert _status(aside) == "failed"
    assert stored_draws(aside) == stored
    assert not list(tmp_path.glob(".running/*.json"))


def _is_finished_by_resume(bayesrun: Command, sweep: Path, here: str) -> str:
    """Finish a killed sweep with fewer draws; returns what was said."""
    done = bayesrun(f"resume={sweep}", "launcher=basic", "sampler.draws=50", "sampler.tune=50", here)
    assert done.returncode == 0, done.stderr
    assert {_status(sweep / name) for name in ("0", "1", ".")} == {"finished"}
    return done.stdout

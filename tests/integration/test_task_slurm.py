"""Tasks of many fits on a real Slurm with two nodes: lost jobs, cancelled jobs, and a command that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command, only_run
from tests.integration.killing import LINE, begin, fits_of, wait_for
from tests.integration.slurm import missing, process_of, slurm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
_MODEL = f"{LINE}figures: []\n"
_LONG = ("sampler.draws=6000", "sampler.tune=2000", "sampler.chains=2", "tracking=none")
_SLURM = ("launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.array_parallelism=2")
_SBC = ("task=sbc", "model=line", "data=line", "sbc.fits=20", "sbc.ranks=49", "sampler.draws=3000", "tracking=none")
_PATIENCE = 400.0

Environment = Mapping[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with slurm(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model and its data."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("model", "data"):
        (folder / name).mkdir()
    (folder / "model" / "line.yaml").write_text(_MODEL)
    (folder / "line.csv").write_text("x\n0.3\n1.2\n-0.5\n0.9\n0.1\n0.7\n-0.2\n0.4\n")
    (folder / "data" / "line.yaml").write_text(f"name: line\nsource: csv\npath: {folder / 'line.csv'}\n")
    return folder


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, own: Path) -> Path:
    """Fit the model to its data; returns the run's folder."""
    words = ("--config-dir", own, "model=line", "data=line", *_LONG, "report=false")
    done = bayesrun(*words, f"paths.outputs={own / 'outputs'}")
    assert done.returncode == 0, done.stderr
    return only_run(own / "outputs")


def _begin(cluster: Environment, *words: object) -> subprocess.Popen[str]:
    return begin([*words, *_SLURM], cluster)


def _wait(process: subprocess.Popen[str], found: Callable[[], object]) -> None:
    if not wait_for(found, process):
        process.kill()
        raise AssertionError(process.communicate()[0])


def _records(outputs: Path, task: str) -> dict[int, dict[str, object]]:
    (folder,) = outputs.glob(f"runs/*/*_{task}")
    return {int(path.stem): json.loads(path.read_text()) for path in (folder / "jobs" / ".jobs").glob("*.json")}


def _queued(cluster: Environment) -> list[str]:
    """Return the ids of the jobs that wait or run; those that are ending do so already."""
    command = ["squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%F"]
    done = subprocess.run(command, env={**os.environ, **cluster}, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _cancel(cluster: Environment, jobs: list[str]) -> None:
    subprocess.run(["scancel", *jobs], env={**os.environ, **cluster}, check=True)


def _table(outputs: Path, task: str, name: str) -> pd.DataFrame:
    found = [path for path in outputs.glob(f"runs/*/*_{task}*/{name}")]
    assert len(found) == 1
    return pd.read_csv(found[0])


def test_the_fits_of_a_killed_job_are_made_again_and_equal_those_of_this_machine(
    bayesrun: Command, cluster: Environment, own: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "slurm"
    words = ("--config-dir", own, *_SBC)
    process = _begin(cluster, *words, f"paths.outputs={outputs}")
    odd = lambda: [path for path in fits_of(outputs, "sbc") if int(path.stem) % 2]  # noqa: E731 - those of the second
    _wait(process, odd)
    os.kill(process_of(outputs, 1), signal.SIGKILL)
    said, _ = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0, said
    records = _records(outputs, "sbc")
    assert records[0]["status"] == "finished" and records[0]["fits"] == list(range(0, 20, 2))
    assert records[1]["status"] == "lost" and "FAILED" in str(records[1]["error"])
    again = [fit for number, record in records.items() if number > 1 for fit in record["fits"]]  # type: ignore[attr-defined]
    assert set(again) < set(range(1, 20, 2)) and f"{len(again)} fits again" in said
    here = bayesrun(*words, f"paths.outputs={tmp_path / 'here'}")
    assert here.returncode == 0, here.stderr
    one, other = (_table(folder, "sbc", "ranks.csv") for folder in (outputs, tmp_path / "here"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert {path.parent.name for path in fits_of(outputs, "sbc")} == {
        path.parent.name for path in fits_of(tmp_path / "here", "sbc")
    }


def test_the_next_command_makes_only_the_folds_that_are_missing(
    bayesrun: Command, cluster: Environment, fitted: Path, tmp_path: Path
) -> None:
    """The first is killed, and its jobs are cancelled; the second is interrupted, and cancels them itself."""
    words = ("task=kfold", f"run={fitted}", "kfold.k=8", "tracking=none")
    kept: dict[Path, int] = {}
    for number in (signal.SIGKILL, signal.SIGINT):
        process = _begin(cluster, *words, f"paths.outputs={tmp_path}")
        _wait(process, partial(_has_more, tmp_path, len(kept)))
        process.send_signal(number)
        said, _ = process.communicate(timeout=_PATIENCE)
        assert f"{8 - len(kept)} fits in 2 jobs" in said
        if number == signal.SIGKILL:
            _cancel(cluster, _queued(cluster))
        else:
            assert process.returncode == 130 and said.endswith("interrupted\n")
        _wait_for_the_queue(cluster)
        now = fits_of(tmp_path, "kfold")
        assert all(now[path] == at for path, at in kept.items()), "a fit was made again"
        kept = now
    assert 2 <= len(kept) < 8
    done = _begin(cluster, *words, f"paths.outputs={tmp_path}")
    said, _ = done.communicate(timeout=_PATIENCE)
    assert done.returncode == 0, said
    now = fits_of(tmp_path, "kfold")
    assert len(now) == 8 and all(now[path] == at for path, at in kept.items()), "a fit was made again"
    here = bayesrun(*words, f"paths.outputs={tmp_path / 'here'}")
    assert here.returncode == 0, here.stderr
    one = pd.read_csv(Path(said.rpartition("folder: ")[2].strip()) / "pointwise.csv")
    pd.testing.assert_frame_equal(one, _table(tmp_path / "here", "kfold", "pointwise.csv"), check_exact=True)


def _has_more(outputs: Path, before: int) -> bool:
    return len(fits_of(outputs, "kfold")) > before


def _wait_for_the_queue(cluster: Environment) -> None:
    deadline = time.monotonic() + _PATIENCE
    while subprocess.run(
        ["squeue", "-h"], env={**os.environ, **cluster}, capture_output=True, text=True, check=True
    ).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _two_more(cluster: Environment, known: list[str]) -> bool:
    return len(set(_queued(cluster)) - set(known)) == 2


def test_jobs_that_are_cancelled_twice_are_failures_with_the_queues_reason(
    cluster: Environment, fitted: Path, tmp_path: Path
) -> None:
    words = ("task=kfold", f"run={fitted}", "kfold.k=2", "sampler.draws=200000", "tracking=none")
    process = _begin(cluster, *words, f"paths.outputs={tmp_path}")
    known: list[str] = []
    for _ in range(2):
        _wait(process, partial(_two_more, cluster, known))
        now = [job for job in _queued(cluster) if job not in known]
        _cancel(cluster, now)
        known += now
    said, _ = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 4, said
    assert "2 of 2 fits have failed; fit 0: it was cancelled (JobState=CANCELLED" in said
    assert "the same command makes only these again" in said
    assert "Traceback" not in said


def test_a_task_without_fits_has_no_launcher(bayesrun: Command, fitted: Path, tmp_path: Path) -> None:
    words = ("task=effects", f"run={fitted}", "launcher=slurm", f"paths.outputs={tmp_path}")
    done = bayesrun(*words)
    assert done.returncode == 1
    assert "launcher: has no meaning for task 'effects'" in done.stderr
    assert "tasks of many fits: kfold, loo, sbc, verify" in done.stderr

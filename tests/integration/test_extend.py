"""`task=extend` gives the draws of one long run, through the real command."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.conftest import Command
from tests.faults.judging import status_of

MODEL = ("model=eight_schools", "sampler.target_accept=0.9")
QUIET = ("model.figures=[]", "predictive.prior=0", "sampler.tune=100", "sampler.chains=2", "sampler.progress=false")
UNTRACKED = ("tracking=none",)


def run(bayesrun: Command, outputs: Path, *arguments: str) -> Path:
    """Run a command that makes one run folder, and return the folder."""
    before = set(outputs.glob("runs/*/*"))
    done = bayesrun(*arguments, f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    (folder,) = set(outputs.glob("runs/*/*")) - before
    return folder


def read(folder: Path, group: str = "posterior") -> dict[str, np.ndarray]:
    with xr.open_dataset(folder / "posterior.nc", group=group) as stored:
        return {str(name): array.values for name, array in stored.data_vars.items()}


def same(ours: Path, theirs: Path, draws: int | None = None) -> bool:
    """Whether runs have the same draws and statistics, bit for bit; up to so many draws of the chains of `theirs`."""
    kept = json.loads((theirs / "state" / "layout.json").read_text())["kept"]
    for group in ("posterior", "sample_stats"):
        a, b = read(ours, group), read(theirs, group)
        assert a.keys() == b.keys()
        if not all(np.array_equal(a[n][kept, :draws], b[n][:, :draws], equal_nan=a[n].dtype.kind == "f") for n in a):
            return False
    return True


@pytest.fixture(scope="module")
def pymc3(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of PyMC3's NUTS with 60 draws per chain, and the outputs folder."""
    outputs = tmp_path_factory.mktemp("pymc3")
    own = ("sampler.engine=pymc3", "sampler.draws=60", "name=short")
    return run(bayesrun, outputs, *MODEL, *QUIET, *UNTRACKED, *own), outputs


def test_pymc3_goes_on_as_one_long_run(bayesrun: Command, pymc3: tuple[Path, Path]) -> None:
    parent, outputs = pymc3
    long = run(bayesrun, outputs, *MODEL, *QUIET, *UNTRACKED, "sampler.engine=pymc3", "sampler.draws=180", "name=long")
    once = run(
        bayesrun, outputs, "task=extend", f"run={parent}", "sampler.draws=+70", "sampler.cores=1", "tracking=none"
    )
    assert read(once)["mu"].shape == (2, 130)
    twice = run(bayesrun, outputs, "task=extend", f"run={once}", "sampler.draws=180", "name=twice")
    assert same(twice, long)
    assert same(twice, parent, 60)
    assert yaml.safe_load((twice / "config.yaml").read_text())["sampler"]["draws"] == 180
    assert json.loads((twice / "provenance.json").read_text())["parent"]["folder"] == str(once)
    assert status_of(twice) == "finished"
    assert not (twice / "draws").exists()
    seconds = [json.loads((folder / "metrics.json").read_text())["seconds_sample"] for folder in (parent, once, twice)]
    assert seconds == sorted(seconds)  # of all draws, not of the new ones
    summary = [(folder / "summary.csv").read_text() for folder in (twice, long)]
    assert summary[0] == summary[1]


def test_a_run_that_was_stopped_goes_on(bayesrun: Command, pymc3: tuple[Path, Path]) -> None:
    _, outputs = pymc3
    own = ("sampler.engine=pymc3", "sampler.draws=100000", "sampler.max_seconds=1.5", "sampler.cores=2")
    stopped = run(bayesrun, outputs, *MODEL, *QUIET, *UNTRACKED, *own, "name=stopped")
    assert status_of(stopped) == "partial"
    made = read(stopped)["mu"].shape[1]
    whole = run(bayesrun, outputs, "task=extend", f"run={stopped}", "sampler.draws=+50", "sampler.max_seconds=null")
    assert read(whole)["mu"].shape == (2, made + 50)
    assert same(whole, stopped, made)
    assert same(whole, pymc3[0], min(60, made + 50))


def test_nutpie_goes_on_as_one_long_run_until_an_ess(bayesrun: Command, tmp_path: Path) -> None:
    parent = run(bayesrun, tmp_path, *MODEL, *QUIET, "sampler.draws=60", "name=short")
    done = bayesrun("task=extend", f"run={parent}", "until_ess=150", "name=more", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "nutpie can't resume a chain: the first 60 draws are made again, and compared" in done.stderr + done.stdout
    (more,) = tmp_path.glob("runs/*/*_more")
    with (more / "summary.csv").open() as file:
        names = file.readline().strip().split(",")
        ess = [float(row.split(",")[names.index(n)]) for row in file for n in ("ess_bulk", "ess_tail")]
    assert min(ess) >= 150
    draws = read(more)["mu"].shape[1]
    assert yaml.safe_load((more / "config.yaml").read_text())["sampler"]["draws"] == draws
    long = run(bayesrun, tmp_path, *MODEL, *QUIET, *UNTRACKED, f"sampler.draws={draws}", "name=long")
    assert same(more, long)
    assert same(more, parent, 60)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        tags = dict(database.execute("select key, value from tags where key in ('parent_folder', 'task')").fetchall())
        params = {value for (value,) in database.execute("select value from params where key = 'sampler.draws'")}
        (parent_id,) = database.execute("select value from tags where key = 'mlflow.parentRunId'").fetchone()
    assert tags == {"task": "extend", "parent_folder": str(parent)}
    assert params == {"60", "until_ess=150"}
    assert parent_id == json.loads((more / "provenance.json").read_text())["parent"]["run_id"]
    again = bayesrun("task=extend", f"run={more}", "until_ess=100")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


def test_what_is_wrong_with_an_extension_is_told_and_nothing_is_written(
    bayesrun: Command, pymc3: tuple[Path, Path], tmp_path: Path
) -> None:
    parent, _ = pymc3
    wrong = [
        (
            ["seed=1", "model.priors.mu.sd=3", "sampler.tune=5", "sampler.draws=-3"],
            [
                *("seed: belongs", "model.priors.mu.sd: belongs", "sampler.tune: belongs to the run that is extended"),
                "sampler.draws: must be a number of draws",
            ],
        ),
        ([], ["extend: needs either sampler.draws or until_ess"]),
        (["sampler.draws=+9", "until_ess=9"], ["not both"]),
        (["sampler.draws=60"], ["sampler.draws: is 60, and the run has 60 draws per chain"]),
        (["until_es=9"], ["unknown key 'until_es'"]),
    ]  # fmt: skip
    for arguments, said in wrong:
        done = bayesrun("task=extend", f"run={parent}", *arguments, f"paths.outputs={tmp_path}")
        assert done.returncode == 1, arguments
        assert all(part in done.stderr for part in said), done.stderr
    assert not list(tmp_path.iterdir())
    changed = tmp_path / "changed"  # the state is another one: the draw that is made again is not the parent's
    shutil.copytree(parent, changed)
    for chain in (0, 1):
        state = dict(np.load(changed / "state" / f"{chain}-59.npz"))
        np.savez(changed / "state" / f"{chain}-59.npz", **{**state, "position": state["position"] + 1e-9})
    done = bayesrun("task=extend", f"run={changed}", "sampler.draws=+9", f"paths.outputs={tmp_path / 'out'}")
    assert done.returncode == 4
    assert "draw 59 of 'mu' in chain 0 differs from that of the earlier run" in done.stderr
    assert "recover" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["model=eight_schools", "sampler=prior"], "the draws of prior are made all at once"),
        (
            ["model=switchpoint", "model.options.form=compound", "sampler.draws=20"],
            "the state of step methods other than NUTS can't be stored (discrete variables: switchpoint",
        ),
    ],
)
def test_what_cannot_be_extended_is_refused(
    bayesrun: Command, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    parent = run(bayesrun, tmp_path, *arguments, *QUIET, *UNTRACKED)
    done = bayesrun("task=extend", f"run={parent}", "sampler.draws=+9")
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


def test_a_sweeps_job_of_a_file_goes_on_unless_the_file_has_changed(bayesrun: Command, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("x,y\n" + "".join(f"{i},{2 * i + i * 7 % 5}\n" for i in range(20)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.yaml").write_text(f"name: rows\nsource: csv\npath: {table}\n")
    model = [f"--config-dir={tmp_path}", "model=glm", "model.formula='y ~ x'", "data=rows", *QUIET, *UNTRACKED]
    done = bayesrun("-m", *model, "sampler.draws=60", "seed=1,2", f"paths.outputs={tmp_path}/sweep")
    assert done.returncode == 0, done.stderr
    (job,) = tmp_path.glob("sweep/sweeps/*/*/1")
    more = run(bayesrun, tmp_path / "out", "task=extend", f"run={job}", "sampler.draws=+40")
    long = run(bayesrun, tmp_path / "out", *model, "sampler.draws=100", "seed=2", "name=long")
    assert same(more, long)
    assert same(more, job, 60)
    bound = bayesrun(
        "task=extend", f"run={more}", "until_ess=1000000", "max_draws=150", f"paths.outputs={tmp_path}/bound"
    )
    assert bound.returncode == 0
    assert "until_ess=1000000 is not reached with 150 draws per chain (extend.max_draws)" in bound.stderr
    whole = bayesrun("task=extend", f"run={job.parent}", "sampler.draws=+40")
    assert f"is a sweep\n    name one of its jobs: run={job.parent}/0" in whole.stderr
    table.write_text(table.read_text().replace("\n3,", "\n3.5,"))
    changed = bayesrun("task=extend", f"run={job}", "sampler.draws=+40", f"paths.outputs={tmp_path}/changed")
    assert changed.returncode == 1
    assert f"the data have changed since '{job}'" in changed.stderr
    assert not (tmp_path / "changed").exists()

"""Sweeps of a user's own model, whose YAML has no more than it must; and what a second `resume` leaves as it was."""

import json
from pathlib import Path

import pytest

from tests.integration.sweeping import bayesrun, only_sweep, runs, sweeps, table_of

MODEL = """
name: own
type: declarative
priors:
  mu: {dist: Normal, mu: 0, sigma: 10}
  s: {dist: HalfNormal, sigma: 5}
likelihood:
  seen: {dist: Normal, mu: mu, sigma: s, observed: y}
"""
DATA = "name: own\nsource: inline\nvalues: {y: [1.0, 2.0, 3.5, 2.2, 1.9]}\n"
NEW = "name: new\nsource: inline\nvalues: {day: [6, 7]}\n"
SHORT = ["sampler.draws=100", "sampler.tune=100", "sampler.chains=2", "sampler.progress=false"]
SIGMA = "model.priors.s.sigma"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for group, text in (("model", MODEL), ("data", DATA)):
        (folder / group).mkdir()
        (folder / group / "own.yaml").write_text(text)
    (folder / "data" / "new.yaml").write_text(NEW)
    return ["--config-dir", str(folder), "model=own", "data=own", *SHORT]


@pytest.fixture(scope="module")
def swept(own, tmp_path_factory):
    """A sweep of keys that the YAML leaves out, of a prior, and with keys that move together."""
    outputs = tmp_path_factory.mktemp("swept")
    together = [f"{SIGMA}=5,1", "data.drop_missing=null,rows", f"sweep.zip=[[{SIGMA},data.drop_missing]]"]
    status, _, err = bayesrun(outputs, "-m", *own, *together)
    assert status == 0, err
    return outputs


def test_keys_that_the_yaml_leaves_out_are_swept(swept):
    table = table_of(only_sweep(swept))
    assert set(table["status"]) == {"finished"}
    assert set(table["setting"]) == {"s.sigma=5, data.drop_missing=null", "s.sigma=1, data.drop_missing=rows"}
    found = runs(swept, "own")
    assert {r.info.status for r in found} == {"FINISHED"}
    assert len(found) == 3


def times(outputs):
    """Return the times of a sweep: its own, its jobs', and those of its runs in tracking."""
    folder = only_sweep(outputs)
    state = json.loads((folder / "sweep.json").read_text())
    return (
        json.loads((folder / "metrics.json").read_text())["seconds_total"],
        [job["seconds"] for job in state["jobs"]],
        {r.info.run_id: (r.info.start_time, r.info.end_time) for r in runs(outputs, "own")},
    )


def test_another_resume_changes_no_time(swept):
    before, table = times(swept), table_of(only_sweep(swept))
    for _ in range(2):
        status, out, err = bayesrun(swept, f"resume={only_sweep(swept)}")
        assert status == 0, err
        assert "2 jobs (2 done already)" in out
        assert times(swept) == before
    assert table_of(only_sweep(swept)).equals(table)


def test_a_sweep_whose_jobs_all_fail_is_failed_in_tracking(own, tmp_path):
    # so narrow a prior that its density is zero at every point but 0
    status, out, _ = bayesrun(tmp_path, "-m", *own, f"{SIGMA}=1.0e-300,1.0e-301")
    assert status == 1
    (parent,) = (r for r in runs(tmp_path, "own") if "mlflow.parentRunId" not in r.data.tags)
    assert parent.info.status == "FAILED"
    assert out.count("no posterior: ") == 2
    errors = table_of(sweeps(tmp_path)[-1])["error"]
    assert errors.str.contains("model.priors.s").all() or errors.str.contains("log density").all()


def test_a_tracked_run_predicts_by_its_id_what_its_folder_predicts(swept, own):
    job = only_sweep(swept) / "0"
    (run_id,) = (r.info.run_id for r in runs(swept, "own") if r.data.tags.get("run_folder") == str(job))
    tables = []
    for run in (job, f"mlflow:{run_id}", run_id):
        status, out, err = bayesrun(swept, *own[:2], "task=predict", f"run={run}", "predict.data=new")
        assert status == 0, err
        tables.append((Path(out.split("folder: ")[1].splitlines()[0]) / "predictions.csv").read_bytes())
    assert tables[0] == tables[1] == tables[2] and tables[0].count(b"observation") == 2

"""`import bayesrun` in a program: the run of the command, in a process that stays as it was."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import hydra
import matplotlib
import numpy as np
import pandas as pd
import polars
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

import bayesrun as library
from bayesrun.errors import RunInterrupted, SamplingError, UserError, VerdictError
from tests.conftest import ROOT, Command, only_run

SHORT = ["sampler.draws=60", "sampler.tune=60", "sampler.chains=2", "model.figures=[]"]
QUICK = [*SHORT, "tracking=none"]
DOCS = ROOT / "docs" / "python.md"


def python(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a user's, in a folder of theirs."""
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def draws_of(run: Any) -> dict[str, Any]:
    return {name: values.values for name, values in run.idata.posterior.data_vars.items()}


def state() -> dict[str, Any]:
    """What a run must leave as it is."""
    return {
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "warnings": warnings.filters[:],
        "show a warning": warnings.showwarning,
        "root's handlers": logging.root.handlers[:],
        "levels": {n: logging.getLogger(n).level for n in ("root", "bayesrun", "theano", "pymc3", "arviz", "hydra")},
        "random": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "matplotlib": (matplotlib.get_backend(), dict(matplotlib.rcParams)),
        "exceptions": sys.excepthook,
        "garbage": gc.get_threshold(),
        "streams": (sys.stdout, sys.stderr),
        "hydra": GlobalHydra.instance().hydra,
        "resolvers": {n: OmegaConf.has_resolver(n) for n in ("bayesrun.root", "oc.env")},
    }


def test_importing_it_imports_nothing_large() -> None:
    script = "import sys; before = set(sys.modules); import bayesrun; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    assert tops - set(sys.stdlib_module_names) == {"bayesrun"}
    assert [name for name in done.stdout.split() if name.startswith("bayesrun.")] == ["bayesrun.version"]


def test_a_run_is_that_of_the_command(bayesrun: Command, tmp_path: Path) -> None:
    words = ["model=linear_regression", "seed=11", *SHORT]
    done = bayesrun(*words, f"paths.outputs={tmp_path}/a")
    assert done.returncode == 0, done.stderr
    library.run("linear_regression", ["seed=5", *QUICK, f"paths.outputs={tmp_path}/other"])  # any run before it
    run = library.run("linear_regression", [*words[1:], f"paths.outputs={tmp_path}/b"])
    of_command = library.load(only_run(tmp_path / "a"))
    assert run.folder.is_relative_to(tmp_path / "b")
    assert {p.name for p in run.folder.iterdir()} == {p.name for p in of_command.folder.iterdir()}
    one, two = draws_of(run), draws_of(of_command)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert run.summary.equals(of_command.summary)
    assert (run.verdict, run.findings, run.status) == (of_command.verdict, of_command.findings, "finished")
    assert {**run.config, "paths": 0, "tracking": 0} == {**of_command.config, "paths": 0, "tracking": 0}
    digests = [json.loads((r.folder / "provenance.json").read_text())["config_digest"] for r in (run, of_command)]
    assert digests[0] == digests[1]
    told = json.loads((run.folder / "provenance.json").read_text())["command_line"]
    assert told[1:] == ["-m", "bayesrun", *words, f"paths.outputs={tmp_path}/b"]
    tracked = json.loads((run.folder / "tracking.json").read_text())
    assert tracked["run_id"] and tracked["status"] == "finished"
    assert "alpha" in run._repr_html_() and f">{run.verdict}<" in run._repr_html_()
    assert "<summary>model</summary>" in run._repr_html_() and "is distributed as Normal" in run._repr_html_()
    assert run.latex.startswith("\\begin{aligned}") and r"\alpha &\sim \mathrm{Normal} ( 0 , 10 )" in run.latex


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    library.run("linear_regression", [*QUICK, f"paths.outputs={tmp_path}"])  # the libraries are imported
    np.random.seed(4)
    before = state()
    library.run("switchpoint", ["tracking=none", "sampler.draws=50", "sampler.tune=50", f"paths.outputs={tmp_path}"])
    with pytest.raises(UserError):
        library.run("nothing", [])
    library.sweep("linear_regression", {"seed": [1, 2]}, [*QUICK, f"paths.outputs={tmp_path}"])
    assert state() == before


def test_it_is_a_guest_of_a_program_of_hydras(tmp_path: Path) -> None:
    GlobalHydra.instance().clear()  # what other tests of this process composed
    OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)  # and what they forbade
    with hydra.initialize(version_base=None, config_path="."):
        theirs = GlobalHydra.instance().hydra
        library.run("linear_regression", ["sampler=prior", "sampler.draws=20", *QUICK[3:], f"paths.outputs={tmp_path}"])
        assert GlobalHydra.instance().hydra is theirs
        os.environ["OF_A_PROGRAM"] = "seen"
        assert OmegaConf.create({"a": "${oc.env:OF_A_PROGRAM}"}).a == "seen"


def test_it_runs_in_any_thread(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    def work(name: str, seed: int) -> None:
        try:
            overrides = [*QUICK, f"seed={seed}", f"paths.outputs={tmp_path}/{name}"]
            found[name] = library.run("linear_regression", overrides, quiet=True)
            found[f"{name}s"] = library.sweep("linear_regression", {"seed": [seed, seed + 1]}, overrides, quiet=True)
        except BaseException as error:
            found[name] = error

    threads = [threading.Thread(target=work, args=(name, seed)) for name, seed in (("one", 3), ("two", 4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["one", "ones", "two", "twos"], found
    for name in ("one", "two"):
        alone, (first, _) = draws_of(found[name]), found[f"{name}s"].runs
        assert all(np.array_equal(draws, draws_of(first)[variable]) for variable, draws in alone.items())
    assert not np.array_equal(draws_of(found["one"])["alpha"], draws_of(found["two"])["alpha"])


# ---------------------------------------------------------------- errors


def test_errors_have_the_texts_of_the_command(bayesrun: Command, tmp_path: Path) -> None:
    wrong = ["sampler.drawz=3", "model.priors.sigma.sigma=-1", f"paths.outputs={tmp_path}"]
    done = bayesrun("model=linear_regression", *wrong)
    with pytest.raises(UserError) as caught:
        library.run("linear_regression", wrong)
    assert f"error: {caught.value}\n" == done.stderr
    assert {problem.key for problem in caught.value.problems} == {"sampler.drawz", "model.priors.sigma.sigma"}
    assert not list(tmp_path.iterdir())


def test_a_verdict_of_fail_is_returned_unless_it_fails_the_run(tmp_path: Path) -> None:
    few = ["sampler.draws=20", "sampler.tune=20", *QUICK[2:], f"paths.outputs={tmp_path}"]
    run = library.run("linear_regression", few, quiet=True)
    assert run.verdict == "fail"
    with pytest.raises(VerdictError, match=r"bayesrun\.load"):
        library.run("linear_regression", [*few, "diagnostics.fail_run=true"], quiet=True)


def test_what_ends_a_run_later_is_raised_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "odd.yaml").write_text(
        "defaults: [_self_]\nname: odd\ntype: declarative\npriors: {a: {dist: Normal, mu: 0, sigma: 1}}\n"
        "potentials: {p: log(a - 30)}\n"
    )
    with pytest.raises((SamplingError, UserError)) as caught:
        library.run("odd", [*QUICK, f"paths.outputs={tmp_path}/out"], config_dir=tmp_path)
    assert "a" in str(caught.value)
    assert str(caught.value) not in capsys.readouterr().err


def test_an_interrupted_run_keeps_its_draws(tmp_path: Path) -> None:
    long = ["sampler.draws=2000000", "sampler.tune=50", "predictive.posterior=false", "predictive.prior=0"]
    rest = ["diagnostics.log_likelihood=false", "model.figures=[]", "tracking=none", f"paths.outputs={tmp_path}"]
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while not any("first draw" in path.read_text() for path in tmp_path.glob("runs/*/*/run.log")):
            stop.wait(0.2)
        stop.wait(2)
        os.kill(os.getpid(), signal.SIGINT)

    stop = threading.Event()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(RunInterrupted) as caught:
        library.run("linear_regression", [*long, *rest], quiet=True)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.folder is not None
    run = library.load(caught.value.folder)
    assert run.status == "partial"
    assert run.idata.posterior.sizes["draw"] > 1
    assert str(run.folder) in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is before


# ---------------------------------------------------------------- frames


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    made = pd.DataFrame({"x": rng.normal(size=80).round(3), "size": rng.choice(["small", "mid", "large"], 80)})
    made["size"] = pd.Categorical(made["size"], ["small", "mid", "large", "never"])
    made["count"] = rng.poisson(np.exp(0.5 + 0.3 * made["x"]))
    return made


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fit the frame in a process of its own: this one's engine has seen the settings of other tests."""
    folder = tmp_path_factory.mktemp("fitted")
    frame.to_pickle(folder / "frame.pickle")
    done = python(
        f"""
import bayesrun, pandas
run = bayesrun.fit(
    "count ~ x + size",
    pandas.read_pickle("frame.pickle"),
    family="poisson",
    priors={{"x": {{"dist": "Normal", "mu": 0, "sigma": 1}}}},
    seed=9,
    sampler={{"draws": 100, "tune": 100, "chains": 2}},
    model={{"figures": []}},
    tracking="none",
    paths={{"outputs": {str(folder / "outputs")!r}}},
    quiet=True,
)
print(run.folder)
""",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return library.load(done.stdout.strip())


def test_a_fit_has_its_frame_priors_and_levels(fitted: Any, frame: pd.DataFrame) -> None:
    assert {"Intercept", "x", "size[mid]", "size[large]"} <= set(fitted.summary.index)  # in the order of the categories
    assert fitted.config["model"]["priors"]["x"] == {"dist": "Normal", "mu": 0, "sigma": 1}
    assert fitted.config["data"]["path"] == str(fitted.folder / "data.parquet")
    assert pd.read_parquet(fitted.folder / "data.parquet").equals(frame)
    assert fitted.idata.constant_data.sizes["obs"] == 80
    assert fitted.idata.constant_data.attrs["origin"] == str(fitted.folder / "data.parquet")


def test_a_fit_is_that_of_the_same_model_in_yaml(
    fitted: Any, frame: pd.DataFrame, bayesrun: Command, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "defaults: [{/data@_global_.data: rows}, _self_]\nname: mine\ntype: regression\nformula: count ~ x + size\n"
        "family: poisson\nfigures: []\npriors: {x: {dist: Normal, mu: 0, sigma: 1}}\n"
    )
    (tmp_path / "data" / "rows.yaml").write_text(
        f"name: rows\nsource: csv\npath: {tmp_path}/rows.csv\nlevels: {{size: [small, mid, large]}}\n"
    )
    short = ["sampler.draws=100", "sampler.tune=100", "sampler.chains=2", "seed=9", "tracking=none"]
    done = bayesrun(f"--config-dir={tmp_path}", "model=mine", *short, f"paths.outputs={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    one, two = draws_of(fitted), draws_of(library.load(only_run(tmp_path / "out")))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_fit_runs_again_from_its_folder(fitted: Any, bayesrun: Command, tmp_path: Path) -> None:
    record = json.loads((fitted.folder / "provenance.json").read_text())
    assert record["command_line"][1:] == [
        "-m", "bayesrun", f"--config-dir={fitted.folder}", "--config-name=config"
    ]  # fmt: skip
    done = bayesrun(*record["command_line"][3:], f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    again = library.load(only_run(tmp_path))
    assert all(np.array_equal(values, draws_of(again)[name]) for name, values in draws_of(fitted).items())
    other = json.loads((again.folder / "provenance.json").read_text())
    assert other["config_digest"] == record["config_digest"]
    assert other["data_digest"] == record["data_digest"]


def test_predictions_are_those_of_the_task(fitted: Any, bayesrun: Command, tmp_path: Path) -> None:
    new = pd.DataFrame({"x": [0.0, 1.5, -0.25], "size": ["mid", "small", "mid"]})
    new.to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.yaml").write_text(f"name: new\nsource: csv\npath: {tmp_path}/new.csv\n")
    words = [f"run={fitted.folder}", "predict.data=new", "predict.group_by=[size]", "predict.interval=0.5"]
    done = bayesrun(
        f"--config-dir={tmp_path}", "task=predict", *words, "tracking=none", f"paths.outputs={tmp_path}/out"
    )
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "out")
    table, grouped = (
        pd.read_csv(folder / name, float_precision="round_trip")
        for name in ("predictions.csv", "predictions_by_group.csv")
    )
    pd.testing.assert_frame_equal(fitted.predict(new, interval=0.5).reset_index(drop=True), table, check_exact=True)
    pd.testing.assert_frame_equal(fitted.predict_groups(new, ["size"], interval=0.5), grouped, check_exact=True)
    later = library.load(fitted.folder).predict(polars.from_pandas(new), interval=0.5)
    pd.testing.assert_frame_equal(later.reset_index(drop=True), table, check_exact=True)


def test_questions_are_answered_with_the_tables_of_the_tasks(fitted: Any, bayesrun: Command, tmp_path: Path) -> None:
    new = pd.DataFrame({"x": [0.0, 1.5, -0.25], "size": ["mid", "small", "mid"]})
    new.to_csv(tmp_path / "new.csv", index=False)
    given = ["tracking=none", f"paths.outputs={tmp_path}/out"]
    before = state()
    found = {
        "effects": fitted.effects("x", at={"size": ["mid", "small"]}, data=new, overrides=given),
        "hypothesis": fitted.hypothesis("x > 0", "exp(x) - 1", rope=(-0.1, 0.1), overrides=given),
    }
    assert state() == before
    of_python = {path.parent for path in (tmp_path / "out").glob("runs/*/*/status.json")}
    words = {
        "effects": ["effects.of=x", "effects.at={size: [mid, small]}", f"effects.data={tmp_path}/new.csv"],
        "hypothesis": ["x > 0", "exp(x) - 1", "rope=[-0.1,0.1]"],
    }
    for task, file in (("effects", "effects.csv"), ("hypothesis", "hypotheses.csv")):
        done = bayesrun(f"task={task}", f"run={fitted.folder}", *words[task], *given)
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(done.stdout.split("folder: ")[1].strip() + f"/{file}", float_precision="round_trip")
        pd.testing.assert_frame_equal(found[task], table, check_exact=True)
    parents = {json.loads((folder / "status.json").read_text())["parent"] for folder in of_python}
    assert parents == {str(fitted.folder)}


def test_questions_that_can_not_be_answered_raise_what_the_command_says(fitted: Any, tmp_path: Path) -> None:
    given = ["tracking=none", f"paths.outputs={tmp_path}/out"]
    with pytest.raises(UserError, match="effects"):
        fitted.effects("xx", overrides=given)
    with pytest.raises(UserError, match="belongs to the run"):
        fitted.hypothesis("x > 0", overrides={"model.type": "glm", "tracking": "none"})
    with pytest.raises(UserError, match="needs two finished runs"):
        library.compare([fitted], overrides=given)
    with pytest.raises(UserError, match="must be a list of runs"):
        library.compare(fitted, overrides=given)
    assert not list(tmp_path.glob("out/runs/*/*"))


def test_runs_are_compared_as_the_task_does(fitted: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    given = {"tracking": "none", "paths.outputs": str(tmp_path)}
    short = {"sampler": {"draws": 60, "tune": 60, "chains": 2}, "model": {"figures": []}}
    other = library.fit("count ~ size", frame, "poisson", **short, **given)
    table = library.compare([fitted, other.folder], ["with", "without"], given)
    assert set(table.index) == {"with", "without"} and table["elpd_diff"].abs().min() == 0
    assert float(table.loc["with", "elpd_loo"]) == pytest.approx(fitted.metrics["elpd_loo"])


def test_problems_with_rows_name_column_and_row(fitted: Any) -> None:
    with pytest.raises(UserError, match="'huge'"):
        fitted.predict({"x": [1.0, 2.0], "size": ["mid", "huge"]})
    with pytest.raises(UserError, match="must be a data frame"):
        fitted.predict([1, 2, 3])
    with pytest.raises(UserError, match="empty"):
        fitted.predict(pd.DataFrame({"x": [], "size": []}))


@pytest.mark.parametrize("make", [polars.from_pandas, lambda frame: {n: frame[n].tolist() for n in frame}])
def test_frames_of_other_kinds_are_taken(make: Any, frame: pd.DataFrame, fitted: Any, tmp_path: Path) -> None:
    run = library.fit(
        "count ~ x", make(frame), "poisson", seed=9, sampler={"draws": 60, "tune": 60, "chains": 2},
        model={"figures": []}, tracking="none", paths={"outputs": str(tmp_path)}, quiet=True,
    )  # fmt: skip
    assert {"Intercept", "x"} <= set(run.summary.index)
    assert only_run(tmp_path) == run.folder


def test_a_frame_that_fits_no_table_leaves_nothing_behind(tmp_path: Path) -> None:
    odd = pd.DataFrame({"y": [1.0, 2.0], "x": [{"a": 1}, 3]})
    with pytest.raises(UserError, match=r"data: the data frame can't be stored"):
        library.fit("y ~ x", odd, paths={"outputs": str(tmp_path)})
    with pytest.raises(UserError, match=r"model\.formula: predictor 'z' is not in data set 'frame'"):
        library.fit("y ~ z", {"y": [1.0, 2.0], "x": [1.0, 2.0]}, paths={"outputs": str(tmp_path)})
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- sweeps, scripts, docs


def test_a_sweep_of_a_frame_and_its_table(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = {"name": "counts", "type": "regression", "formula": "count ~ x", "family": "poisson"}
    values = {"model.family": ["poisson", "negative_binomial"], "seed": [1]}
    prior = ["sampler=prior", "sampler.draws=40", "tracking=none", f"paths.outputs={tmp_path}"]
    found = library.sweep(model, values, prior, data=frame, quiet=True)
    assert [run.config["model"]["family"] for run in found.runs] == ["poisson", "negative_binomial"]
    assert set(found.table["model.family"]) == {"poisson", "negative_binomial"}
    assert set(found.table["parameter"]) >= {"Intercept", "x"}
    assert found.folder.is_relative_to(tmp_path)
    assert [run.config["data"]["path"] for run in found.runs] == [str(*tmp_path.glob("frames/*/data.parquet"))] * 2
    with pytest.raises(UserError, match=r"bayesrun\.load\('.*/0'\)"):
        library.load(found.folder)
    with pytest.raises(UserError, match="seed: must be a list of values"):
        library.sweep("linear_regression", {"seed": 3})  # type: ignore[dict-item]


SCRIPT = """
import bayesrun
values = {{"model.priors.sigma.sigma": [1, 2, 3]}}
words = ["launcher=parallel", "sampler=prior", "sampler.draws=30", "tracking=none", "paths.outputs={outputs}"]
sweep = bayesrun.sweep("linear_regression", values, words)
print("once", len(sweep.runs), __file__)
"""


def test_a_script_without_a_guard_sweeps_in_parallel(tmp_path: Path) -> None:
    done = python(SCRIPT.format(outputs=tmp_path / "out"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once 3 ") == 1
    assert len(list((tmp_path / "out").glob("sweeps/*/*"))) == 1


def test_theano_that_was_imported_before_is_told_and_changes_no_draw(tmp_path: Path) -> None:
    words = [*QUICK, "sampler.engine=pymc3", f"paths.outputs={tmp_path}/out"]
    done = python(f"import pymc3\nimport bayesrun\nprint(bayesrun.run('linear_regression', {words}).folder)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: Theano was imported before bayesrun") == 1
    here = library.run("linear_regression", [*words[:-1], f"paths.outputs={tmp_path}/here"], quiet=True)
    other = draws_of(library.load(only_run(tmp_path / "out")))
    assert all(np.array_equal(values, other[name]) for name, values in draws_of(here).items())


AT_HOME = "import bayesrun.config.resolvers as places, pathlib\nplaces.root = pathlib.Path.cwd\n"
"""Puts the outputs of a script into its own folder, as an installed bayesrun does."""


@pytest.mark.slow
def test_the_examples_of_the_docs_run_as_they_are(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) >= 10
    done = python(AT_HOME + "\n".join(blocks) + "\nprint('keys', keys, len(sweep.runs))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "keys ['sampler.drawz'] 3" in done.stdout
    assert "unknown key 'drawz'" in done.stdout
    assert len(list((tmp_path / "outputs").glob("runs/*/*/summary.csv"))) == 5


def test_the_docs_name_what_results_have() -> None:
    named = set(re.findall(r"`run\.(\w+)", DOCS.read_text()))
    public = {name for name in dir(library.Run) if not name.startswith("_")} | {"folder"}
    assert named == public

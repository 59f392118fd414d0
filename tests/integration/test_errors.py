"""All config errors are reported at once, with their keys, without traceback, delay or leftovers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Command

SWITCHPOINT = "model=switchpoint"

FAULTS = {
    "model": (["model=swichpoint"], ["model: unknown choice 'swichpoint'", "did you mean 'switchpoint'"]),
    "data": ([SWITCHPOINT, "data=mining"], ["data: unknown choice 'mining'", "mining_disasters"]),
    "key": ([SWITCHPOINT, "sampler.drawz=10"], ["sampler.drawz: unknown key", "did you mean 'draws'"]),
    "prior": ([SWITCHPOINT, "+model.priors.earlyrate.dist=Normal"], ["model.priors.earlyrate", "'early_rate'"]),
    "distribution": (
        [SWITCHPOINT, "model.priors.early_rate.dist=Exponentail"],
        ["model.priors.early_rate.dist", "did you mean 'Exponential'"],
    ),
    "parameter": (
        [SWITCHPOINT, "+model.priors.early_rate.lamb=1"],
        ["model.priors.early_rate.lamb", "did you mean 'lam'"],
    ),
    "domain": ([SWITCHPOINT, "model.priors.early_rate.lam=-1"], ["model.priors.early_rate.lam", "-1"]),
    "option": ([SWITCHPOINT, "+model.options.fom=compound"], ["model.options.fom", "did you mean 'form'"]),
    "choice of an option": ([SWITCHPOINT, "model.options.form=compund"], ["model.options.form", "'compound'"]),
    "type": ([SWITCHPOINT, "sampler.draws=many"], ["sampler.draws", "many"]),
    "range": ([SWITCHPOINT, "sampler.target_accept=2"], ["sampler.target_accept", "2"]),
    "figure": ([SWITCHPOINT, "model.figures=[trase]"], ["model.figures[0]", "did you mean 'trace'"]),
    "method": ([SWITCHPOINT, "sampler.method=nust"], ["sampler.method", "did you mean 'nuts'"]),
    "file": ([SWITCHPOINT, "data.path=nothing.csv"], ["data.path", "nothing.csv"]),
    "digest": ([SWITCHPOINT, f"data.sha256={'0' * 64}"], ["data.sha256", "0" * 64]),
    "plug-in": ([SWITCHPOINT, "plugins=[no_such_package]"], ["plugins[0]", "no_such_package"]),
    "environment": ([SWITCHPOINT, "name=${oc.env:HOME}"], ["name", "oc.env"]),
    "interpolation": ([SWITCHPOINT, "name=${no.such.key}"], ["name", "no.such.key"]),
    "class": ([SWITCHPOINT, "+hydra.callbacks.x._target_=os.system"], ["hydra.callbacks.x._target_", "os.system"]),
    "override": ([SWITCHPOINT, "sampler.draws"], ["sampler.draws"]),
}

DATA_FAULTS = {
    "column": ([SWITCHPOINT, "data.columns.disasters=n_disaster"], ["n_disaster", "n_disasters"]),
    "variable": ([SWITCHPOINT, "model.options.response=deaths"], ["model.options.response", "deaths", "disasters"]),
    "negative counts": (
        [SWITCHPOINT, "data.derive={d: 'disasters - 3'}", "model.options.response=d"],
        ["'d'", "count"],
    ),
}


def _is_one_clear_message(done, outputs: Path, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert re.match(r"error: \d+ problems? in the config or the data:", done.stderr), done.stderr
    for word in words:
        assert word in done.stderr
    assert not outputs.exists() or not list(outputs.rglob("*"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_config(fault: str, bayesrun: Command, tmp_path: Path) -> None:
    arguments, words = FAULTS[fault]
    done = bayesrun(*arguments, f"paths.outputs={tmp_path}/out", timeout=300)
    _is_one_clear_message(done, tmp_path / "out", words)


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_a_fault_of_the_data(fault: str, bayesrun: Command, tmp_path: Path) -> None:
    arguments, words = DATA_FAULTS[fault]
    done = bayesrun(*arguments, f"paths.outputs={tmp_path}/out", timeout=300)
    _is_one_clear_message(done, tmp_path / "out", words)


def test_all_faults_at_once(bayesrun: Command, tmp_path: Path) -> None:
    arguments = ["sampler.drawz=1", "model.priors.early_rate.lam=-1", "sampler.target_accept=7"]
    done = bayesrun(SWITCHPOINT, *arguments, f"paths.outputs={tmp_path}/out")
    assert done.returncode == 1
    for key in ("sampler.drawz", "model.priors.early_rate.lam", "sampler.target_accept"):
        assert key in done.stderr


def test_an_unknown_flag_exits_with_2(bayesrun: Command) -> None:
    assert bayesrun("--no-such-flag").returncode == 2


def test_a_start_of_zero_density_is_told_with_the_variable(bayesrun: Command, tmp_path: Path) -> None:
    prior = "model.priors.sigma={dist: Uniform, lower: 1, upper: 2, initval: 5}"
    done = bayesrun("model=linear_regression", prior, f"paths.outputs={tmp_path}/out")
    _is_one_clear_message(done, tmp_path / "out", ["sigma", "initval"])


def test_no_fault_of_the_config_waits_for_heavy_packages(bayesrun: Command) -> None:
    done = bayesrun(SWITCHPOINT, "sampler.draws=x", PYTHONPROFILEIMPORTTIME="1")
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, flags=re.M))
    assert "hydra" in loaded
    assert not loaded & {"pandas", "xarray", "theano", "pymc3", "arviz", "mlflow", "matplotlib"}

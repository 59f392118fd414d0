"""The command line as people write it: flags anywhere, no plus, formulas, and errors that quote what was written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bayesrun import __version__
from tests.conftest import Command

SHORT = ("sampler.draws=20", "sampler.tune=20", "sampler.chains=1", "tracking=none", "model.figures=[]")


def test_flags_stand_anywhere_among_overrides(bayesrun: Command, tmp_path: Path) -> None:
    words = ("model=linear_regression", "-m", "seed=1,2", "--config-dir", str(tmp_path), "sampler.nothing=1")
    done = bayesrun(*words, *SHORT, f"paths.outputs={tmp_path}/out")
    assert done.returncode == 1
    assert "sampler.nothing: unknown key" in done.stderr
    assert "usage" not in done.stderr
    shown = bayesrun("model=linear_regression", "--cfg", "job", "seed=5", "--package", "seed")
    assert (shown.returncode, shown.stdout) == (0, "5\n")


def test_an_unknown_flag_is_two(bayesrun: Command) -> None:
    assert bayesrun("model=linear_regression", "--nothing").returncode == 2


def test_the_version_is_bayesruns(bayesrun: Command) -> None:
    assert bayesrun("--version").stdout == f"bayesrun {__version__}\n"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("model.formula=y~x", """'model.formula="y~x"'"""),
        ("model.formula=log(y) ~ x + (1|g)", """'model.formula="log(y) ~ x + (1|g)"'"""),
        ("sampler.draws", "sampler.draws=VALUE"),
    ],
)
def test_what_can_not_be_read_is_quoted_as_it_was_written(bayesrun: Command, written: str, hint: str) -> None:
    done = bayesrun("model=glm", written)
    assert done.returncode == 1
    assert f"'{written}' can't be read" in done.stderr
    assert hint in done.stderr
    assert "++" not in done.stderr


def test_the_quoting_that_is_shown_works(bayesrun: Command) -> None:
    shown = bayesrun("model=glm", 'model.formula="log(y) ~ x"', "--cfg=job", "--package=model.formula")
    assert shown.stdout == "log(y) ~ x\n"


def test_several_values_without_m_are_told(bayesrun: Command) -> None:
    done = bayesrun("model=linear_regression", "seed=1,2")
    assert done.returncode == 1
    assert "'seed=1,2' has several values" in done.stderr
    assert "-m" in done.stderr


def test_help_says_what_can_be_set_and_every_exit_status(bayesrun: Command) -> None:
    text = bayesrun("--help").stdout
    assert re.search(r"^predict:$", text, re.MULTILINE)
    for status in (0, 1, 2, 3, 4, 130, 143):
        assert re.search(rf"\b{status} ", text.split("Exit status:")[1])


def test_predict_is_among_the_keys_that_are_allowed(bayesrun: Command) -> None:
    assert re.search(r"did you mean 'predict'\? allowed: .*\bpredict\b", bayesrun("perdict.data=x").stderr)


MODEL = """
name: mine
type: linear_regression
defaults: [{/data@_global_.data: mine}, _self_]
priors:
  alpha: {dist: Normal, mu: 0, sigma: 10}
  beta: {dist: Normal, mu: 0, sigma: 10}
  sigma: {dist: HalfNormal, sigma: 1}
"""
DATA = "name: mine\nsource: inline\nvalues: {Y: [1, 2, 3, 4.5], X1: [1, 2, 3, 4], X2: [2, 1, 2, 1]}\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for group, text in (("model", MODEL), ("data", DATA)):
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["run", "sweep"])
def test_every_key_with_a_default_can_be_set_in_ones_own_yaml(bayesrun: Command, own: Path, flags: tuple[str]) -> None:
    """What was left out of the YAML needs no plus, in a run or in a sweep."""
    given = (
        "model=mine",
        "model.figures=[trace]",
        "data.drop_missing=rows",
        "model.options={}",
        "store.exclude=[beta]",
    )
    done = bayesrun(*flags, f"--config-dir={own}", *given, *SHORT[:4], f"paths.outputs={own}/out")
    assert done.returncode == 0, done.stderr
    (config,) = (path for path in (own / "out").glob("*/*/**/config.yaml") if path.parent.name != "model")
    assert "drop_missing: rows" in config.read_text()
    assert (config.parent / "posterior.nc").exists()


def test_defaults_are_shown_and_may_be_named(bayesrun: Command, own: Path) -> None:
    words = (f"--config-dir={own}", "model=mine", "name='${store.float32_above}_${sampler.draws}'", "--cfg=job")
    shown = bayesrun(*words, "--resolve", "--package=name")
    assert shown.stdout == "1000000_1000\n", shown.stderr


def test_an_unknown_flag_is_told_without_the_name_of_a_file(bayesrun: Command) -> None:
    done = bayesrun("--nope")
    assert done.returncode == 2
    assert "bayesrun: error: unrecognized arguments: --nope" in done.stderr
    assert "__main__" not in done.stderr

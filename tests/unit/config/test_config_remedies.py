"""Remedies in messages about overrides and files of the config work: following one makes the config valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesrun.errors import UserError
from tests.composing import parsed

GLM = "model=glm_linear"
REMEDIES = [
    ([GLM, "model.formula=y~x"], "'model.formula=\"y~x\"'", [GLM, 'model.formula="y~x"']),
    ([GLM, "model.formula='y ~ x"], "'model.formula=\"y ~ x\"'", [GLM, 'model.formula="y ~ x"']),
    (["sampler.draws"], "give it a value: sampler.draws=VALUE", ["sampler.draws=20"]),
    (["model.figures=trace,forest"], "for one list write model.figures=[...]", ["model.figures=[trace,forest]"]),
    (["name=a,b"], "for one text quote it: 'name=\"...\"'", ['name="a,b"']),
    (["sampler=nutz"], "did you mean 'nuts'", ["sampler=nuts"]),
    (["~sampler.draw"], "did you mean 'draws'", ["~sampler.draws"]),
    (["sampler="], "allowed: advi, nuts", ["sampler=nuts"]),
    (["sampler.chainz=2"], "did you mean 'chains'", ["sampler.chains=2"]),
    (
        ["model=switchpoint", "~model.priors.early_rate"],
        "add {dist: ..., ...}",
        ["model=switchpoint", "model.priors.early_rate={dist: Exponential, lam: 2}"],
    ),
    (
        ["model=switchpoint", "+model.priors.early={dist: Exponential, lam: 1}"],
        "did you mean 'early_rate'",
        ["model=switchpoint", "model.priors.early_rate={dist: Exponential, lam: 1}"],
    ),
]


def _told(*overrides: str) -> str:
    try:
        parsed(*overrides)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("wrong", "remedy", "right"), REMEDIES, ids=[" ".join(r[0]) for r in REMEDIES])
def test_what_an_error_tells_to_write_is_right(wrong: list[str], remedy: str, right: list[str]) -> None:
    assert remedy in _told(*wrong)
    assert _told(*right) == ""


def test_a_file_of_a_shipped_path_is_found_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    own = tmp_path / "model" / "glm.yaml"
    own.write_text("name: own\ntype: glm\nformula: y ~ x\ndefaults: [{/data@_global_.data: eight_schools}, _self_]\n")
    with pytest.raises(UserError, match="give the file another name"):
        parsed("--config-dir", str(tmp_path), "model=glm")
    own.rename(own.with_name("own.yaml"))
    parsed("--config-dir", str(tmp_path), "model=own")

"""Composing reports every wrong override at once, and lets no config run code."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesrun.errors import UserError
from tests.composing import composed, parsed, plain


def faults(*overrides: str) -> dict[str, str]:
    with pytest.raises(UserError) as caught:
        parsed(*overrides)
    return {p.key: f"{p.message} | {p.hint}" for p in caught.value.problems}


def test_the_default_composes_with_its_data() -> None:
    config = composed()
    assert plain(config, "model.name") == "linear_regression"
    assert plain(config, "data.name") == "linear_regression"
    assert plain(config, "experiment_name") == "linear_regression"


def test_a_model_brings_its_data_and_the_command_line_wins() -> None:
    assert plain(composed("model=switchpoint"), "data.name") == "mining_disasters"
    assert plain(composed("model=switchpoint", "data=sp500"), "data.name") == "sp500"


def test_unknown_keys_and_choices_are_told_at_once() -> None:
    found = faults("sampler.drawz=1", "seeed=2", "model=switchpoint", "diagnostics.thresholds.rhat=[1,2]")
    assert set(found) == {"sampler.drawz", "seeed", "diagnostics.thresholds.rhat"}
    assert "did you mean 'draws'" in found["sampler.drawz"]
    assert "did you mean 'seed'" in found["seeed"]
    assert "did you mean 'r_hat'" in found["diagnostics.thresholds.rhat"]


def test_an_unknown_choice_names_the_options() -> None:
    found = faults("sampler=nutz", "model=swichpoint")
    assert "did you mean 'nuts'" in found["sampler"]
    assert "did you mean 'switchpoint'" in found["model"]


@pytest.mark.parametrize("plus", ["", "+"])
def test_an_unknown_data_set_to_predict_is_told_under_its_own_key(plus: str) -> None:
    found = faults("model=eight_schools", f"{plus}predict.data=eight_scools", "data=eight_scholls")
    assert "unknown choice 'eight_scools'" in found["predict.data"]
    assert "unknown choice 'eight_scholls'" in found["data"]


@pytest.mark.parametrize("override", ["sampler.draws", "a b=c", "x={"])
def test_an_override_that_can_not_be_read(override: str) -> None:
    assert any("can't be read as an override" in text for text in faults(override).values())


@pytest.mark.parametrize(
    "override",
    ["tags.who=me", "+tags.who=me", "sampler.step.alpha=Metropolis", "model.priors.alpha.initval=1"],
)
def test_open_mappings_take_new_keys_with_or_without_a_plus(override: str) -> None:
    key, value = override.lstrip("+").split("=")
    assert str(plain(composed(override), key)) == value


@pytest.mark.parametrize("where", ["+hydra.callbacks.x._target_", "++hydra.launcher._target_", "+hydra.a.b._target_"])
def test_no_class_can_be_named(where: str) -> None:
    found = faults(f"{where}=os.system")
    assert "is not allowed" in found[where.lstrip("+")]


def test_hydras_own_launchers_may_be_chosen() -> None:
    assert plain(composed("hydra/launcher=joblib"), "hydra.launcher")["_target_"].startswith("hydra_plugins.")


def test_a_users_file_of_a_shipped_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/switchpoint.yaml").write_text("name: mine\n")
    found = faults(f"--config-dir={tmp_path}", "model=switchpoint")
    assert any("model/switchpoint.yaml" in text for text in found.values())


def test_a_config_dir_that_is_not_there(tmp_path: Path) -> None:
    assert "is not a folder" in faults(f"--config-dir={tmp_path}/none")["--config-dir"]


def test_a_users_model_and_data_are_found(tmp_path: Path) -> None:
    for group, text in {
        "model": "defaults:\n  - /data@_global_.data: own\n  - _self_\nname: own\ntype: linear_regression\n",
        "data": "name: own\nsource: inline\nvalues: {Y: [1, 2]}\n",
    }.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "own.yaml").write_text(text)
    config = composed(f"--config-dir={tmp_path}", "model=own", "seed=3")
    assert plain(config, "data.values") == {"Y": [1, 2]}


@pytest.mark.parametrize(
    "content", [b"name: [1, 2\n", b"name: 'a\n", b"\ta: 1\n", b"a: 1\na: 2\n", b"\xff\xfe\x00", b"- a\n- b\n", b"3"]
)
def test_a_file_that_is_no_mapping_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/broken.yaml").write_bytes(content)
    with pytest.raises(UserError):
        parsed(f"--config-dir={tmp_path}", "model=broken")


@pytest.mark.parametrize("override", ["=3", "model=3", "model=null", "model={a: 1}"])
def test_a_choice_that_is_no_name_is_told(override: str) -> None:
    assert faults(override)


def test_a_sweep_composes_with_its_overrides_as_text() -> None:
    config = composed("-m", "model=switchpoint", "model.priors.early_rate.lam=1,2")
    assert plain(config, "model.name") == "switchpoint"

"""Configs are stored as plain values, and read back equal in every value, type and flag."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import ValidationError

from bayesrun.config import compose as module
from bayesrun.config.compose import compose
from bayesrun.config.defaults import read_primary
from bayesrun.config.hydra_internals import command_line
from bayesrun.config.kept_files import SWITCH
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.config.stored_nodes import NotStorable, config_of, plain_of


def _shipped(folder: str) -> list[str]:
    return sorted(f"{folder}={path.stem}" for path in (conf() / folder).glob("*.yaml"))


@pytest.mark.parametrize("choice", [c for f in ("experiment", "launcher", "sweeper", "sampler") for c in _shipped(f)])
def test_the_merged_files_of_each_choice_are_stored_exactly(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if choice == "launcher=ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    monkeypatch.setenv(SWITCH, "off")
    register_resolvers()
    made: list[module._Base] = []
    merge = module._merge

    def noted(*arguments: Any) -> Any:
        made.append(merge(*arguments))
        return made[-1]

    monkeypatch.setattr(module, "_merge", noted)
    monkeypatch.setattr(module.KEPT, "_kept", {})
    words = [choice] if choice.startswith("experiment") else ["model=switchpoint", choice]
    compose(command_line().parse_intermixed_args(words), conf())
    (base,) = made
    back = module._Base.of(json.loads(json.dumps(base.plain())))
    assert _parts(back.merged.config) == _parts(base.merged.config)
    assert (back.offered, back.choices, back.merged.method) == (base.offered, base.choices, base.merged.method)
    assert not base.has_secret()


def _parts(node: Any) -> list[Any]:
    """List all that pickling a node keeps, but for what interpolations were resolved to."""
    state = dict(node._metadata.__dict__)
    del state["resolver_cache"]
    kept = {
        name: value for name, value in node.__dict__.items() if name not in ("_metadata", "_parent", "_flags_cache")
    }
    content = kept.pop("_content", None)
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    children = [(repr(key), *_parts(child)) for key, child in inner]
    assert all(child._parent is node for child in (c for _, c in inner))
    return [type(node), repr(state), repr(sorted(kept.items())), children or repr(content)]


def test_values_keep_their_types_and_flags() -> None:
    config = OmegaConf.create(
        {"a": 1, "b": 1.0, "c": True, "d": None, "e": "${a}", "f": MISSING, 3: [1, {"x": "y"}], True: -0.0, "g": 1e400}
    )
    OmegaConf.set_readonly(config[3], True)
    OmegaConf.set_struct(config, True)
    back = config_of(json.loads(json.dumps(plain_of(config))))
    assert _parts(back) == _parts(config) and back.e == 1 and OmegaConf.is_missing(back, "f")
    assert OmegaConf.is_readonly(back[3]) and OmegaConf.is_struct(back)


def test_what_is_read_back_is_checked_as_before() -> None:
    register_resolvers()
    config = compose(command_line().parse_intermixed_args(["model=switchpoint"]), conf()).config
    back = config_of(json.loads(json.dumps(plain_of(config))))
    with open_dict(back), pytest.raises(ValidationError):
        back.hydra.job.num = "no number"


@pytest.mark.parametrize("value", [float("nan"), b"bytes", Path("a")])
def test_other_values_are_not_stored(value: Any) -> None:
    with pytest.raises(NotStorable):
        plain_of(OmegaConf.create({"a": value}))


@pytest.mark.parametrize("plain", [3, None, [], {"map": []}, {"list": [], "ref": "Any"}])
def test_other_plain_values_are_no_config(plain: Any) -> None:
    with pytest.raises((NotStorable, KeyError)):
        config_of(plain)


def test_a_config_read_back_can_be_copied_and_pickled_for_launchers() -> None:
    config: DictConfig = config_of(plain_of(OmegaConf.create({"a": {"b": [1, "${a.c}"], "c": 2}})))
    assert pickle.loads(pickle.dumps(config)).a.b[1] == 2


def test_the_shipped_primary_config_reads_in_c_as_omegaconf_reads_it() -> None:
    path = conf() / "main.yaml"
    assert dict(read_primary(path.read_text())) == OmegaConf.to_container(OmegaConf.load(path), resolve=False)

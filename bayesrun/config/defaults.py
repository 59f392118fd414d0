"""Documented defaults, filled into a composed config below what was written.

Every key that a run reads is then in the config: it can be overridden, swept and named by an interpolation, also where
a user's own YAML leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bayesrun.config.run_config import CHOSEN, REGISTRIES, SECTIONS, TopSpec
from bayesrun.data.section import PredictSpec
from bayesrun.errors import Problem
from bayesrun.figures.base import default_for
from bayesrun.registry import load_plugins
from bayesrun.schema import Section


def fill_in(config: DictConfig, conf: Path) -> list[Problem]:
    """Add the keys that are not there.

    Parameters
    ----------
    config
        The composed config; it is changed.
    conf
        The shipped config folder, whose primary config has the defaults of the keys at the top.

    Returns
    -------
    list of Problem
        Plug-ins that can't be loaded: their names, and so their keys, are not known.
    """
    problems = load_plugins(_plugins(config), REGISTRIES)
    sections: dict[str, type[Section]] = {**SECTIONS, "predict": PredictSpec}
    _fill(config, {**_defaults(TopSpec), **primary(conf), **{name: _defaults(s) for name, s in sections.items()}})
    for group, spec in _chosen(config).items():
        _fill(config, {group: {**_defaults(spec), **_figures(config, group)}})
    return problems


def _figures(config: DictConfig, group: str) -> dict[str, Any]:
    """Return the figures of a model that names none: those that suit its type."""
    return {"figures": list(default_for(str(_select(config, "model.type", ""))))} if group == "model" else {}


@lru_cache(maxsize=1)
def primary(conf: Path) -> Mapping[str, Any]:
    """Read the keys at the top of the shipped primary config."""
    raw = read_primary((conf / "main.yaml").read_text(encoding="utf-8"))
    return {str(key): value for key, value in raw.items() if key not in ("defaults", "hydra")}


@lru_cache(maxsize=4)
def read_primary(text: str) -> Mapping[str, Any]:
    """Read the text of the shipped primary config; it is shared, and must not be changed.

    In C: OmegaConf reads YAML in Python, ten times as slowly. It also reads `1e5` as a number, of which there is none.
    """
    raw: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return raw


def _fill(node: DictConfig, defaults: Mapping[str, Any]) -> None:
    for name, value in defaults.items():
        child = node._get_node(name)
        if child is None:
            OmegaConf.update(node, name, value, merge=False, force_add=True)
        elif isinstance(child, DictConfig) and isinstance(value, Mapping) and not _is_no_mapping(child):
            _fill(child, value)


def _is_no_mapping(node: DictConfig) -> bool:
    return bool(node._is_none() or node._is_missing() or node._is_interpolation())


def _chosen(config: DictConfig) -> dict[str, type[Section]]:
    """Return the class of each section that a name in it decides (`model.type`)."""
    specs: dict[str, type[Section]] = {}
    for group, (key, default, registry) in CHOSEN.items():
        name = _select(config, f"{group}.{key}", default)
        if name in registry.names():
            specs[group] = registry.load(str(name), f"{group}.{key}").spec
    return specs


def _plugins(config: DictConfig) -> list[str]:
    """Return the names of plug-in packages; a value that is not a list of names is reported with the other problems."""
    named = _select(config, "plugins", None)
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _select(config: DictConfig, key: str, default: Any) -> Any:
    try:
        found = OmegaConf.select(config, key, default=default)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except OmegaConfBaseException:  # an interpolation that names nothing is reported when the config is parsed
        return None


def _defaults(spec: type[Section]) -> dict[str, Any]:
    values = {}
    for name, field in spec.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            values[name] = default.model_dump(mode="json") if isinstance(default, Section) else default
    return values

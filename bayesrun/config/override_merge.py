"""A prior's new `dist` drops the parameters of the distribution that it replaces; so does the sampler's `method`.

Hydra merges `{dist: Gamma, alpha: 2, beta: 1}` into a shipped `{dist: Exponential, lam: 1}` and keeps `lam`. What the
user did not write is dropped here: a parameter of the replaced distribution that no override on the command line set.
Likewise `sampler.method=smc` drops the keys of the shipped method, and `smc` takes its own defaults.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bayesrun.config.resolvers import task_overrides
from bayesrun.language.distributions import family

_KEPT = ("dist", "dims", "shape", "initval", "transform", "parameterization")


def drop_replaced(config: DictConfig, hydra: DictConfig) -> DictConfig:
    """Return the config without parameters of replaced distributions, and without keys of a replaced sampler.

    Parameters
    ----------
    config
        The composed config.
    hydra
        Hydra's node: its overrides, and where configs come from.
    """
    set_keys = {str(o).lstrip("+").split("=")[0] for o in task_overrides(hydra)}
    raw = OmegaConf.to_container(config, resolve=False)  # interpolations that name nothing are told later
    assert isinstance(raw, dict)
    _drop_sampler_keys(raw.get("sampler"), _shipped(hydra, "sampler"), set_keys)
    model = raw.get("model")
    _drop_parameters(model.get("priors") if isinstance(model, dict) else None, _shipped(hydra, "model"), set_keys)
    return OmegaConf.create(raw)


def _drop_parameters(priors: Any, shipped: dict[str, Any], set_keys: Collection[str]) -> None:
    before = shipped.get("priors")
    if not isinstance(priors, dict) or not isinstance(before, dict):
        return
    for name, old in before.items():
        new = priors.get(name)
        if isinstance(new, dict) and isinstance(old, dict) and new.get("dist") != old.get("dist"):
            for parameter in _replaced(str(name), old, new, set_keys):
                del new[parameter]


def _replaced(name: str, old: dict[str, Any], new: dict[Any, Any], set_keys: Collection[str]) -> list[str]:
    key = f"model.priors.{name}"
    if key in set_keys:  # the whole prior was written on the command line, over the old one
        return [p for p in old if p not in _KEPT and p in new and not _takes(new, p)]
    by_command = f"{key}.dist" in set_keys
    same = [p for p in old if p not in _KEPT and p in new and f"{key}.{p}" not in set_keys and new.get(p) == old[p]]
    return same if by_command else [p for p in same if not _takes(new, p)]


def _takes(prior: dict[Any, Any], parameter: str) -> bool:
    known = family(str(prior.get("dist")))
    return known is not None and parameter in known.parameters


def _drop_sampler_keys(sampler: Any, old: dict[str, Any], set_keys: Collection[str]) -> None:
    if not isinstance(sampler, dict) or not old or sampler.get("method") == old.get("method"):
        return
    for name, value in old.items():
        if name != "method" and f"sampler.{name}" not in set_keys and name in sampler and sampler[name] == value:
            del sampler[name]


def _shipped(hydra: DictConfig, group: str) -> dict[str, Any]:
    """Read a group as the file of its choice has it (as the primary config has it, in a run folder)."""
    choice = OmegaConf.select(hydra, f"runtime.choices.{group}")
    name = f"{group}/{choice}" if choice else str(hydra.job.config_name)
    for source in hydra.runtime.config_sources:
        path = Path(source.path) / f"{name.removesuffix('.yaml')}.yaml"
        if source.provider != "schema" and path.is_file():
            loaded = OmegaConf.load(path)
            found = loaded if choice else OmegaConf.select(loaded, group)
            raw = OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else {}
            return {str(k): v for k, v in raw.items()} if isinstance(raw, dict) else {}
    return {}

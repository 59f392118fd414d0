"""Merging one part of a config over another, where a choice takes its parameters with it.

Hydra merges `{dist: Gamma, alpha: 2, beta: 1}` into `{dist: Exponential, lam: 1}` and keeps `lam`. Here a prior's new
`dist` drops the parameters of the distribution that it replaces, and the transform of its support; the sampler's new
`method` drops the keys that came with the old one, at the moment of merging: what comes later is kept, and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

_KEPT = ("dist", "dims", "shape", "initval", "parameterization")
_KEPT_TRANSFORMS = ("ordered", "none")
"""Transforms that do not depend on the support: without `ordered`, components of a mixture would switch labels."""


class Merged:
    """A config that grows by files and overrides.

    Parameters
    ----------
    config
        The config so far; it is changed.
    method
        What came with the sampler's method.
    """

    def __init__(self, config: DictConfig, method: dict[str, Any] | None = None) -> None:
        self.config = config
        self.method: dict[str, Any] = method or {}

    def file(self, content: DictConfig) -> None:
        """Merge the content of a file, which wins."""
        raw = _plain(content)
        self._drop(raw)
        self.config.merge_with(content)
        self._note_method(raw)

    def value(self, key: str, value: Any) -> None:
        """Set one key (dotted); mappings are merged."""
        raw = _nested(key, value)
        self._drop(raw)
        OmegaConf.update(self.config, key, value, merge=True, force_add=True)
        self._note_method(raw)

    def _drop(self, raw: Any) -> None:
        for name, new in _items(_at(raw, "model", "priors")):
            old = OmegaConf.select(self.config, "model.priors")
            if isinstance(old, DictConfig) and isinstance(old._get_node(name), DictConfig) and isinstance(new, Mapping):
                _drop_parameters(old[name], new)
        method = _at(raw, "sampler", "method")
        sampler = self.config._get_node("sampler")
        if method is not None and isinstance(sampler, DictConfig) and _raw(sampler, "method") not in (None, method):
            for name, value in self.method.items():
                if name != "method" and name in sampler and _raw(sampler, name) == value:
                    _remove(sampler, name)

    def _note_method(self, raw: Any) -> None:
        section = _at(raw, "sampler")
        if isinstance(section, Mapping) and "method" in section:
            self.method = dict(section)


def sets_first(key: str, value: Any) -> bool:
    """Return whether an override must come before others: it drops keys that the same command line may set again.

    `alpha=2 dist=Gamma` means the same as `dist=Gamma alpha=2`.
    """
    return bool(_names(_nested(key, value)))


def _names(raw: Any) -> list[Any]:
    """List the new distributions and methods of a part of a config."""
    found = [
        new["dist"] for _, new in _items(_at(raw, "model", "priors")) if isinstance(new, Mapping) and "dist" in new
    ]
    method = _at(raw, "sampler", "method")
    return found if method is None else [*found, method]


def _drop_parameters(old: DictConfig, new: Mapping[Any, Any]) -> None:
    if "dist" in new and _raw(old, "dist") not in (None, new["dist"]):
        for name in [name for name in old if name not in _KEPT]:
            if name != "transform" or _raw(old, name) not in _KEPT_TRANSFORMS:
                _remove(old, name)


def _remove(node: DictConfig, name: Any) -> None:
    with open_dict(node):
        del node[name]


def _raw(node: DictConfig, name: Any) -> Any:
    child = node._get_node(name)
    return OmegaConf.to_container(child, resolve=False) if OmegaConf.is_config(child) else getattr(child, "_val", child)


def _plain(content: DictConfig) -> Any:
    return OmegaConf.to_container(content, resolve=False)


def _nested(key: str, value: Any) -> Any:
    """`a.b=v` as `{a: {b: v}}`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _at(raw: Any, *keys: str) -> Any:
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _items(raw: Any) -> list[tuple[Any, Any]]:
    return list(raw.items()) if isinstance(raw, Mapping) else []

"""Configs composed in this process as the command composes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bayesrun.config.compose import Composition, compose
from bayesrun.config.defaults import fill_in
from bayesrun.config.hydra_internals import command_line
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import UserError, check


def composed(*overrides: str) -> DictConfig:
    """Compose command-line arguments (flags too), Hydra's node included; raises what is wrong with them."""
    composition = _composed(overrides)
    check(composition.problems)
    return composition.config


def _composed(overrides: Sequence[str]) -> Composition:
    register_resolvers()
    return compose(command_line().parse_intermixed_args(list(overrides)), conf())


def parsed(*overrides: str) -> RunConfig:
    """Compose and parse; raises what is wrong with either, as the command tells it."""
    composition = _composed(overrides)
    try:
        result = parse_config(composition.config)
    except UserError as error:
        raise UserError([*composition.problems, *error.problems]) from error
    check(composition.problems)
    return result


def filled(raw: dict[str, Any]) -> RunConfig:
    """Parse a config that was written as Python values, defaults filled in."""
    config = OmegaConf.create(raw)
    assert isinstance(config, DictConfig)
    check(fill_in(config, conf()))
    return parse_config(config)


def plain(config: DictConfig, key: str) -> Any:
    """Return a part of a composed config as plain values, unresolved."""
    node = OmegaConf.select(config, key)
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node

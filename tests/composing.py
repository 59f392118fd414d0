"""Configs as the command composes them, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from bayesrun.config.compose import compose
from bayesrun.config.override_merge import drop_replaced
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import Problem, UserError, check


def composed(*overrides: str) -> DictConfig:
    """Compose command-line arguments (flags too), Hydra's node included; raises what is wrong with them."""
    config, problems = _composed(overrides)
    check(problems)
    return config


def _composed(overrides: Sequence[str]) -> tuple[DictConfig, list[Problem]]:
    register_resolvers()
    arguments = get_args_parser().parse_args(list(overrides))
    config, _, problems = compose(arguments, conf(), arguments.overrides, arguments.multirun)
    return config, problems


def kept(*overrides: str) -> DictConfig:
    """Compose, and drop what a new distribution or method replaces."""
    return _kept(composed(*overrides))


def _kept(config: DictConfig) -> DictConfig:
    return drop_replaced(OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]), config.hydra)


def parsed(*overrides: str) -> RunConfig:
    """Compose and parse; raises what is wrong with either, as the command tells it."""
    config, problems = _composed(overrides)
    try:
        result = parse_config(_kept(config))
    except UserError as error:
        raise UserError([*problems, *error.problems]) from error
    check(problems)
    return result


def plain(config: DictConfig, key: str) -> Any:
    """Return a part of a composed config as plain values, unresolved."""
    node = OmegaConf.select(config, key)
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node

"""Composing with Hydra, and saying all that is wrong with overrides and choices at once."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bayesrun.errors import Problem, UserError, check, did_you_mean

# Hydra refuses a key that is not in the YAML unless it is written with a plus: a new prior, a parameter inside
# `model.priors.sigma={dist: Uniform, lower: 0, upper: 1}`, or a key that a user's own YAML leaves out. Here the plus
# may be left out, as unknown names are told later, with what is allowed.
_OPEN = re.compile(r"(?!hydra\.)(\w+\.|tags)")
# What composing raises: Hydra's and OmegaConf's own errors; PyYAML's for a file that is no YAML; and ValueError, by
# Hydra for a choice that is no name (`model=3`), by Python for a file that is no text; OSError for one that is no
# mapping.
_FAULTS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError)
_TRUSTED = ("hydra._internal.core_plugins.", "hydra_plugins.", "bayesrun.", "optuna.samplers.")


def compose(
    arguments: Namespace, conf: Path, overrides: Sequence[str], multirun: bool
) -> tuple[DictConfig, list[str], list[Problem]]:
    """Compose the config, Hydra's own node included.

    Parameters
    ----------
    arguments
        Hydra's parsed flags (`config_name`, `config_dir`).
    conf
        The shipped config folder.
    overrides
        The command line's overrides.
    multirun
        Whether they may sweep.

    Returns
    -------
    config : DictConfig
        What Hydra composed.
    overrides : list of str
        The overrides as Hydra takes them: with the plus that keys of open mappings need.
    problems : list of Problem
        Overrides of unknown keys; they are left out of `config`, so that what it holds can be checked, too.

    Raises
    ------
    UserError
        With every choice that is wrong, or where nothing can be composed.
    """
    problems = _shadowed(arguments.config_dir, conf)
    kept, choices_wrong = [_as_choice(o) for o in overrides], bool(problems)
    while True:
        try:
            config = _compose_once(arguments, conf, kept, multirun)
            break
        except _FAULTS as error:
            bad, problem = _explain(error, kept, arguments, conf, multirun)
            if bad is not None and _plus(bad):
                kept[kept.index(bad)] = f"{_plus(bad)}{bad}"
                continue
            problems.append(problem)
            if bad is None:
                raise UserError(problems) from error
            choices_wrong |= isinstance(error, MissingConfigException)
            kept = _without(kept, bad)
    untrusted = _untrusted(config)
    problems += untrusted
    check(problems if choices_wrong or untrusted else [])
    return config, kept, problems


def _as_choice(override: str) -> str:
    """`predict.data=NAME` chooses a data set as `data=NAME` does, but for the rows to predict."""
    return f"+data@{override.lstrip('+')}" if re.match(r"\+*predict\.data=\w", override) else override


def _plus(override: str) -> str:
    """Return what an override needs before it, where its key may be new: in open mappings, and data for a model."""
    return "+" if re.match(r"data=\w", override) else "++" if _OPEN.match(override) else ""


def _without(overrides: list[str], bad: str) -> list[str]:
    """Leave out an override that is wrong; below a wrong choice nothing can be told, so that goes with it."""
    group, is_choice = bad.split("=")[0].lstrip("+"), "." not in bad.split("=")[0]
    return [o for o in overrides if o != bad and not (is_choice and o.lstrip("+~").startswith(f"{group}."))]


def _compose_once(arguments: Namespace, conf: Path, overrides: list[str], multirun: bool) -> DictConfig:
    hydra = start_hydra(arguments, conf)
    try:
        return hydra.compose_config(
            config_name=arguments.config_name or "main",
            overrides=overrides,
            run_mode=RunMode.MULTIRUN if multirun else RunMode.RUN,
            with_log_configuration=False,
        )
    finally:
        GlobalHydra.instance().clear()


def start_hydra(arguments: Namespace, conf: Path) -> Hydra:
    """Start Hydra on the shipped configs and the user's; `GlobalHydra` is it from here on."""
    search_path = create_config_search_path(str(conf))
    if arguments.config_dir:
        path, last = f"file://{Path(arguments.config_dir).absolute()}", SearchPathQuery(provider="schema")
        search_path.prepend("command-line", path, anchor=last)
    GlobalHydra.instance().clear()
    return Hydra.create_main_hydra2("bayesrun", search_path)


def _explain(
    error: Exception, overrides: list[str], arguments: Namespace, conf: Path, multirun: bool
) -> tuple[str | None, Problem]:
    """Say what one failed composition means, and which override is at fault, if one is."""
    if isinstance(error, OverrideParseException):
        bad = str(error.override)
        hint = "write key=value; quote what the shell or YAML would read otherwise"
        return _one_of(bad, overrides), Problem(bad.split("=")[0], f"'{bad}' can't be read as an override", hint)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_choice(error, overrides)
    text = str(error)
    keys = {o: o.split("=")[0].lstrip("+~") for o in overrides}
    named = [o for o, key in keys.items() if f"'{key}'" in text] or [o for o, key in keys.items() if f"'{key}." in text]
    if named:
        return named[0], _wrong_key(keys[named[0]], text, overrides, arguments, conf, multirun)
    return None, Problem("", text.strip().replace("\n", " "))


def _missing_choice(error: MissingConfigException, overrides: list[str]) -> tuple[str | None, Problem]:
    group, _, choice = str(error.missing_cfg_file).removesuffix(".yaml").strip("/").rpartition("/")
    at = next((o for o in overrides if _chooses(o, group, choice)), None)
    key = at.lstrip("+").split("=")[0].rpartition("@")[2] if at else group  # data@predict.data is predict.data
    options = [str(o) for o in error.options or []]
    return at, Problem(key or choice, f"unknown choice '{choice}'", did_you_mean(choice, options))


def _chooses(override: str, group: str, choice: str) -> bool:
    key, _, value = override.lstrip("+").partition("=")
    return value == choice and group in (key, key.partition("@")[0])


def _one_of(override: str, overrides: list[str]) -> str | None:
    return override if override in overrides else None


def _wrong_key(key: str, text: str, overrides: list[str], arguments: Namespace, conf: Path, multirun: bool) -> Problem:
    rest = [o for o in overrides if "=" in o and o.split("=")[0].lstrip("+~") != key and _is_choice(o, conf)]
    try:
        config = _compose_once(arguments, conf, rest, multirun)
    except _FAULTS:
        return Problem(key, text.strip().splitlines()[0])
    hint = _nearest(key, config)
    if hint:
        return Problem(key, f"unknown key '{key.rpartition('.')[2]}'", hint)
    return Problem(key, text.strip().splitlines()[0])


def _is_choice(override: str, conf: Path) -> bool:
    return (conf / override.split("=")[0].lstrip("+")).is_dir()


def _nearest(key: str, config: DictConfig) -> str:
    """Walk down the key as far as the config goes, and name what is there."""
    node: Any = config
    for part in re.split(r"[.\[]", key):
        if not isinstance(node, DictConfig) or part not in node:
            names = [str(n) for n in node if n != "hydra"] if isinstance(node, DictConfig) else []
            return did_you_mean(part.rstrip("]"), names)
        node = node._get_node(part)
    return ""


def _shadowed(config_dir: str | None, conf: Path) -> list[Problem]:
    """A user's file with the path of a shipped one would be passed over in silence by Hydra."""
    if not config_dir:
        return []
    folder = Path(config_dir)
    if not folder.is_dir():
        return [
            Problem("--config-dir", f"'{config_dir}' is not a folder", "give the folder that holds model/, data/, ...")
        ]
    names = sorted(p.relative_to(folder) for p in folder.rglob("*.yaml") if (conf / p.relative_to(folder)).exists())
    hint = "give the file another name: a shipped file is never replaced"
    return [Problem(f"--config-dir {config_dir}", f"'{name}' has the path of a shipped config", hint) for name in names]


def _untrusted(config: DictConfig) -> list[Problem]:
    """A shared YAML must not run code: classes that Hydra would call are Hydra's, its plug-ins' or ours."""
    found: list[Problem] = []
    _find_targets(OmegaConf.to_container(config.hydra, resolve=False), "hydra", found)
    return found


def _find_targets(node: Any, key: str, found: list[Problem]) -> None:
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not str(target).startswith(_TRUSTED):
            message = f"'{target}' may not be named in a config"
            found.append(Problem(f"{key}._target_", message, "only Hydra's own plug-ins are called from YAML"))
        for name, value in node.items():
            _find_targets(value, f"{key}.{name}", found)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _find_targets(value, f"{key}[{index}]", found)

"""From files and overrides to one config, composed once; all problems with either are reported together.

    choices -> files -> values -> defaults -> gate

Files are merged in Hydra's order, then values are set, then documented defaults are filled in below what was written.
Keys need no plus: unknown keys are found when the config is parsed. Hydra's own keys go through the gate.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from bayesrun.config.cluster_file import KEY as CLUSTER
from bayesrun.config.cluster_file import set_up_cluster
from bayesrun.config.defaults import fill_in, read_primary
from bayesrun.config.gate import Gate, Offer, file_problems, may_merge, offers, offers_of, searchpath_problems
from bayesrun.config.hydra_internals import (
    HYDRA_FAULTS,
    Defaults,
    Loader,
    MissingConfigException,
    NotStorable,
    OverrideParseException,
    UnusedChoice,
    WrittenOverride,
    config_of,
    count_interpolations,
    parse_override,
    plain_of,
    registered_configs,
    start_hydra,
)
from bayesrun.config.kept_files import KeptFiles, Key, state_of
from bayesrun.config.override_merge import Merged, sets_first
from bayesrun.config.table_files import ENDS, is_data_file
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.redaction import redact_tree
from bayesrun.version import __version__

MAIN = "main"
_SEARCHPATH = "hydra.searchpath"
_MAX_OVERRIDES = 500
_MAX_LENGTH = 20_000
_MAX_KEY_LENGTH = 500
_MAX_NAME_LENGTH = 200
_MAX_DEPTH = 60
_EXTRAS = {
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/sweeper/optuna": "optuna",
}
"""Files that packages of an extra bring, and that extra."""


@dataclass(frozen=True)
class Composition:
    """A composed config, Hydra's node included, and the problems with its overrides and choices.

    Parameters
    ----------
    config
        All files and values, defaults filled in. Wrong values are left out, so that the rest can be checked.
    problems
        Problems with overrides and choices.
    loader
        Hydra's config loader, for launchers.
    """

    config: DictConfig
    problems: list[Problem]
    loader: Loader


@dataclass(frozen=True)
class _Base:
    """The merged files of a composition, before any value is set.

    Parameters
    ----------
    merged
        The files, merged.
    offered
        What users' files set below `hydra`.
    choices
        The choice of each group.
    sources
        The places of config files: path, scheme, and who named it.
    """

    merged: Merged
    offered: tuple[Offer, ...]
    choices: dict[str, Any]
    sources: Sequence[Sequence[str]]

    def plain(self) -> dict[str, Any] | None:
        """Return it as plain values; None where they would not be the same."""
        try:
            config = plain_of(self.merged.config)
        except NotStorable:
            return None
        rest = {
            "method": self.merged.method,
            "offered": [[offer.key, offer.value, offer.where] for offer in self.offered],
            "choices": self.choices,
            "sources": [list(source) for source in self.sources],
        }
        try:  # keys that are numbers, say, would be texts afterwards
            return {"config": config, **rest} if json.loads(json.dumps(rest)) == rest else None
        except (TypeError, ValueError):
            return None

    @classmethod
    def of(cls, plain: Any) -> _Base:
        """Make it anew from plain values."""
        offered = tuple(Offer(key, copy.deepcopy(value), where) for key, value, where in plain["offered"])
        merged = Merged(config_of(plain["config"]), dict(plain["method"]))
        return cls(merged, offered, dict(plain["choices"]), plain["sources"])

    def has_secret(self) -> bool:
        """Return whether something in it is never written down."""
        plain = OmegaConf.to_container(self.merged.config, resolve=False, enum_to_str=True)
        offered = {f"hydra.{offer.key}": offer.value for offer in self.offered}
        return bool(redact_tree(plain) != plain or redact_tree(offered) != offered)


@cache
def _versions() -> dict[str, str]:
    """Return what composing depends on besides configs: versions, code, and what Hydra's plug-ins have registered."""
    folder = Path(__file__).parent
    code = {f"config/{path.name}": str(state_of(str(path))) for path in sorted(folder.glob("*.py"))}
    packages = {name: version(name) for name in ("hydra-core", "omegaconf", "pyyaml")}
    return {**packages, "bayesrun": __version__, "python": sys.version, **code, "plug-ins": registered_configs()}


def compose(arguments: Namespace, conf: Path) -> Composition:
    """Compose what a command line asks for.

    Parameters
    ----------
    arguments
        Hydra's parsed flags and overrides. `stored` of them, the first ones, were read from a sweep's folder.
    conf
        The shipped config folder.

    Raises
    ------
    UserError
        With every wrong choice, or when nothing can be composed.
    """
    count_interpolations()
    check(_shadowed(arguments.config_dir, conf))
    loader = start_hydra(arguments.config_dir, conf, compose_job)
    problems: list[Problem] = []
    stored = getattr(arguments, "stored", 0)
    written = _read(arguments.overrides, stored, problems)
    config = _compose(loader, arguments.config_name or MAIN, written, bool(arguments.multirun), problems, _as_they_are)
    return Composition(config, problems, loader)


def compose_job(loader: Loader, config_name: str | None, overrides: Sequence[str], multirun: bool) -> DictConfig:
    """Compose a sweep's job, in whichever process; files that jobs have in common are read once per process.

    Raises
    ------
    UserError
        With all problems.
    """
    count_interpolations()
    problems: list[Problem] = []
    written = _read(overrides, 0, problems)
    config = _compose(loader, config_name or MAIN, written, multirun, problems, _as_they_were)
    check(problems)
    return config


KEPT: KeptFiles[_Base] = KeptFiles(_Base.plain, _Base.of, _Base.has_secret, _versions)
"""Merged files, keyed by everything that they depend on: a worker gets a new loader with each job."""


def _as_they_were(key: Key, make: Callable[[], _Base], loader: Loader) -> _Base:
    """Read the files of jobs once: all jobs of a sweep have the same."""
    return KEPT.get_as_it_was(key, make, loader.looked_at)


def _as_they_are(key: Key, make: Callable[[], _Base], loader: Loader) -> _Base:
    """Read files again only if one of them has changed."""
    return KEPT.get(key, make, loader.looked_at)


def _read(overrides: Sequence[str], stored: int, problems: list[Problem]) -> list[WrittenOverride]:
    """Parse overrides; those that can't be read are reported and left out."""
    if len(overrides) > _MAX_OVERRIDES:
        message = f"the command line has {len(overrides):,} overrides; it may have {_MAX_OVERRIDES}"
        raise fail("", message, "put them into a file: experiment=NAME")
    read = []
    for index, text in enumerate(overrides):
        try:
            if too_large := _too_large(text):
                problems.append(too_large)
            else:
                read.append(parse_override(text, by_hand=index >= stored))
        except OverrideParseException:
            problems.append(_unreadable(text))
    return read


def _too_large(text: str) -> Problem | None:
    """Refuse overrides of a size that no config needs; Hydra's parser would take minutes for them."""
    key = text.partition("=")[0]
    if len(text) > _MAX_LENGTH:
        return Problem(key, f"has {len(text):,} characters; an override may have {_MAX_LENGTH:,}", "put it into a file")
    if len(key) > _MAX_KEY_LENGTH:
        return Problem(key, f"is a key of {len(key):,} characters; it may have {_MAX_KEY_LENGTH}")
    depth = deepest = 0
    for character in text.partition("=")[2]:
        depth += (character in "{[") - (character in "}]")
        deepest = max(depth, deepest)
    return Problem(key, f"is nested more than {_MAX_DEPTH} levels deep") if deepest > _MAX_DEPTH else None


def _unreadable(text: str) -> Problem:
    key, equals, value = text.partition("=")
    if not equals:
        return Problem(key, f"'{text}' can't be read as an override", f"give it a value: {text}=VALUE")
    quoted = value.replace("'", "").replace('"', "").replace("\\", "")
    hint = f"quote the value, and the whole argument for the shell: '{key}=\"{quoted}\"'"
    return Problem(key, f"'{text}' can't be read as an override", hint)


def _compose(
    loader: Loader,
    name: str,
    written: Sequence[WrittenOverride],
    multirun: bool,
    problems: list[Problem],
    base_of: Callable[[Key, Callable[[], _Base], Loader], _Base],
) -> DictConfig:
    values = [w for w in written if not loader.is_choice(w)]
    choices = [w for w in written if loader.is_choice(w)]
    searched = [w.text for w in values if w.key == _SEARCHPATH]
    places = [str(place) for place in loader.config_search_path.get_path()]
    key = (os.getcwd(), name, str(multirun), *(c.text for c in choices), *searched, *places)
    base = base_of(key, lambda: _files(loader, name, choices, values, multirun, problems), loader)
    merged, config = base.merged, base.merged.config
    sweeping = multirun or _asks_for_sweep(config, base.offered)
    offered = [*base.offered]
    fixed = [w for w in values if not w.sweeps]
    for one in [*filter(_is_first, fixed), *(w for w in fixed if not _is_first(w))]:
        if one.override.is_hydra_override():
            offered += offers_of(one)
        else:
            problems += _set(merged, one)
    problems += [p for w in written if w.sweeps for p in _sweep_problems(w, sweeping)]
    problems += _settle(config, base, offered, loader.conf)
    own = [str(w.override.value()) for w in fixed if w.key == CLUSTER and w.by_hand and w.override.value()]
    problems += set_up_cluster(config, own[-1] if own else None, str(base.choices.get("hydra/launcher")))
    OmegaConf.set_struct(config, True)
    loader.record(config, name, written, base.choices, base.sources)
    return config


def _settle(config: DictConfig, base: _Base, offered: Sequence[Offer], conf: Path) -> list[Problem]:
    problems = fill_in(config, conf)
    gate = Gate(config, base.choices)
    refused = gate.admit(offered)
    check(refused)  # what follows would use it
    check(gate.settle())
    return problems


def _is_first(written: WrittenOverride) -> bool:
    return not written.override.is_delete() and sets_first(written.key, written.override.value())


def _asks_for_sweep(config: DictConfig, offered: Sequence[Offer]) -> bool:
    """Return whether a file (an experiment) itself asks for a sweep."""
    modes = [str(offer.value) for offer in offered if offer.key == "mode"]
    mode = config.hydra.mode
    return modes[-1] == "MULTIRUN" if modes else mode is not None and mode.name == "MULTIRUN"


def _sweep_problems(written: WrittenOverride, sweeping: bool) -> list[Problem]:
    if written.override.is_hydra_override():
        return [Problem(written.key, f"'{written.text}': Hydra's own keys can't be swept")]
    if sweeping:
        return []
    hint = (
        f"to sweep them add -m; for one list write {written.key}=[...]; for one text quote it: '{written.key}=\"...\"'"
    )
    return [Problem(written.key, f"'{written.text}' has several values", hint)]


def _set(merged: Merged, written: WrittenOverride) -> list[Problem]:
    """Set or remove one value."""
    override = written.override
    if override.package is not None:
        hint = f"there is no group '{override.key_or_group}' to choose from"
        return [Problem(written.key, f"'{written.text}' chooses nothing", hint)]
    try:
        if override.is_delete():
            return _remove(merged.config, written)
        merged.value(override.key_or_group, override.value())
    except (OmegaConfBaseException, ValueError, TypeError, AssertionError, IndexError, RecursionError) as error:
        return [Problem(written.key, f"'{written.text}' can't be set: {_first_line(error)}")]
    return []


def _remove(config: DictConfig, written: WrittenOverride) -> list[Problem]:
    above, _, name = written.key.rpartition(".")
    node = OmegaConf.select(config, above) if above else config
    if not isinstance(node, DictConfig) or name not in node:
        hint = did_you_mean(name, [str(n) for n in node if n != "hydra"]) if isinstance(node, DictConfig) else ""
        return [Problem(written.key, f"'{written.text}': there is no such key to remove", hint)]
    del node[name]
    return []


def _files(
    loader: Loader,
    name: str,
    choices: Sequence[WrittenOverride],
    values: Sequence[WrittenOverride],
    multirun: bool,
    problems: list[Problem],
) -> _Base:
    """Find and merge the files; raises on a wrong choice, because nothing can be composed then."""
    try:
        repository = _repository(loader, name, values)
        found = _find(loader, repository, name, choices, multirun, problems)
        return _merge(loader, repository, found)
    except UserError:
        raise
    except HYDRA_FAULTS as error:
        raise UserError([*problems, Problem("", _first_line(error))]) from error


def _repository(loader: Loader, name: str, values: Sequence[WrittenOverride]) -> Any:
    asked: list[Any] = [w.override.value() for w in values if w.key == _SEARCHPATH]
    searchpath = asked[-1] if asked else None
    check(searchpath_problems(searchpath if asked else loader.searchpath_of(name)))
    return loader.open(name, searchpath)


def _find(
    loader: Loader,
    repository: Any,
    name: str,
    choices: Sequence[WrittenOverride],
    multirun: bool,
    problems: list[Problem],
) -> Defaults:
    wrong = [w for w in choices if not w.sweeps and not _is_name(w)]
    problems += [Problem(w.key, f"'{w.text}' chooses no file", f"write {w.key}=NAME") for w in wrong]
    kept = [w for w in choices if w not in wrong]
    found = None
    while found is None:
        try:
            found = loader.files(repository, name, kept, multirun)
        except UnusedChoice as error:
            at = [w for w in kept if w.key == error.key]
            problems.append(
                Problem(error.key, f"there is no '{error.key}' to choose here ({name}.yaml has no such group)")
            )
            kept = [w for w in kept if w not in at]
        except MissingConfigException as error:
            if error.missing_cfg_file is None:
                raise
            at, problem = _missing(error, kept)
            problems.append(problem)
            check(problems if not at else [])
            kept = [w for w in kept if w not in at]
            wrong = wrong + at
    check(problems if wrong or len(kept) < len(choices) else [])
    return found


def _is_name(written: WrittenOverride) -> bool:
    value = written.override.value()
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    known = [isinstance(one, str) and (len(one) <= _MAX_NAME_LENGTH or is_data_file(one)) for one in names]
    return written.override.is_delete() or (bool(known) and all(known))


def _missing(
    error: MissingConfigException, choices: Sequence[WrittenOverride]
) -> tuple[list[WrittenOverride], Problem]:
    """Return the problem of a choice that names a missing file."""
    group, _, choice = str(error.missing_cfg_file).removesuffix(".yaml").strip("/").rpartition("/")
    at = [w for w in choices if w.override.key_or_group == group and w.override.value() == choice][:1]
    nested = [w for w in choices if str(error.missing_cfg_file) == f"{w.override.key_or_group}/{w.override.value()}"][
        :1
    ]
    at = at or nested
    key = at[0].key if at else group
    if extra := _EXTRAS.get(str(error.missing_cfg_file).removesuffix(".yaml")):
        message = f"'{choice}' is not installed: it is an extra of bayesrun"
        return at, Problem(key or choice, message, f"install it: pip install 'bayesrun[{extra}]'")
    hint = did_you_mean(choice, map(str, error.options or []))
    if group == "data":
        hint += f"; or give a file ({ENDS}): {key}=rows.csv"
    return at, Problem(key or choice, f"unknown choice '{choice}'", hint)


def _merge(loader: Loader, repository: Any, found: Defaults) -> _Base:
    merged = Merged(OmegaConf.create())
    offered: list[Offer] = []
    problems: list[Problem] = []
    own_keys = copy.deepcopy(_hydra_keys((loader.conf / f"{MAIN}.yaml").read_text(encoding="utf-8")))
    with flag_override(merged.config, "no_deepcopy_set_nodes", True):
        for default in found.files:
            file = loader.load(repository, default)
            if own_keys is not None and not file.name.startswith("hydra/"):
                # Hydra's keys as bayesrun has them, whatever the primary config is
                merged.config.merge_with({"hydra": own_keys})
                own_keys = None
            problems += file_problems(file)
            if not may_merge(file):
                offered += offers(file)
                file.config.pop("hydra", None)
            try:
                merged.file(file.config)
            except OmegaConfBaseException as error:
                raise ConfigCompositionException(f"'{file.name}.yaml' can't be merged: {_first_line(error)}") from error
    check(problems)
    _strip_defaults(merged.config)
    sources = [[source.path, source.scheme(), source.provider] for source in repository.get_sources()]
    return _Base(merged, tuple(offered), found.choices, sources)


def _strip_defaults(node: Any) -> None:
    """Remove the defaults lists that Hydra keeps inside structured configs while it merges."""
    if isinstance(node, DictConfig) and not node._is_missing() and not node._is_none():
        with flag_override(node, ["readonly", "struct"], False):
            if node._get_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"):
                node._set_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS", None)
                node.pop("defaults", None)
        for _, value in node.items_ex(resolve=False):
            _strip_defaults(value)


def _first_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    message = str(error).strip() or type(error).__name__
    return " ".join(message.split()) if error.__class__.__module__.startswith("yaml") else message.splitlines()[0]


def _shadowed(config_dir: str | None, conf: Path) -> list[Problem]:
    """Refuse a user's file with the path of a shipped one, which Hydra would silently ignore."""
    if not config_dir:
        return []
    folder = Path(config_dir)
    if not folder.is_dir():
        return [
            Problem("--config-dir", f"'{config_dir}' is not a folder", "give the folder that holds model/, data/, ...")
        ]
    shipped = [path.relative_to(conf) for path in conf.rglob("*.yaml")]
    names = sorted(name for name in shipped if (folder / name).exists())
    hint = "give the file another name: a shipped file is never replaced"
    return [Problem(f"--config-dir {config_dir}", f"'{name}' has the path of a shipped config", hint) for name in names]


def placing_keys(conf: Path) -> dict[str, Any]:
    """Return Hydra's keys that place a run, as the primary config has them: a run folder's `config.yaml` runs again."""
    keys = _hydra_keys((conf / f"{MAIN}.yaml").read_text(encoding="utf-8"))
    return OmegaConf.to_container(keys, resolve=False)  # type: ignore[return-value]


@lru_cache(maxsize=4)
def _hydra_keys(primary: str) -> Any:
    """Return the keys of Hydra in the text of a primary config; they are shared, and must not be changed."""
    return OmegaConf.create({"hydra": read_primary(primary)["hydra"]}).hydra

"""Every use of the internals of Hydra and OmegaConf, in one place, with its reason.

Hydra's public entry point, `hydra.main`, composes, checks nothing of ours, and runs at once. bayesrun composes first,
reports all problems, and runs then; so it needs the parts below. `INTERNALS` lists them, and a test compares the list
with the installed version.
"""

from __future__ import annotations

import copy
import hashlib
import os
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import Overrides, _create_defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.conf import ConfigSourceInfo
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import Container, DictConfig, Node, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from bayesrun.config.kept_files import state_of
from bayesrun.config.stored_nodes import NotStorable, config_of, plain_of
from bayesrun.config.table_files import KEYS, section_of, with_absolute_files
from bayesrun.config.yaml_limits import check_yaml
from bayesrun.errors import fail
from bayesrun.version import __version__

VERSION_BASE = "1.3"
"""Version of Hydra whose defaults hold."""

_MAX_FILES = 200
"""Files of a composition, each counted as often as a defaults list names it."""

HYDRA_FAULTS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError, RecursionError)
"""What reading and merging configs may raise: Hydra's and OmegaConf's own errors; PyYAML's for a file that is not YAML;
`ValueError` for a broken defaults list or a file that is not text; `OSError` for a file that is not a mapping."""


@dataclass(frozen=True)
class Internal:
    """One place where bayesrun depends on internals: its name, what it uses, why, and tested versions of a package."""

    name: str
    uses: str
    why: str
    versions: str = ">=1.3.8,<1.4"
    package: str = "hydra-core"


INTERNALS = (
    Internal(
        "Loader",
        "subclass of ConfigLoaderImpl; Overrides and _create_defaults_list",
        "launchers get it and compose jobs with it; files and choices are seen one by one, so that each fault has its "
        "place and each key its origin",
    ),
    Internal(
        "_Repository",
        "subclass of ConfigRepository",
        "bounds of a YAML file are checked before it is loaded; a data file stands for a section `data`; what a "
        "composition looks at is noted",
    ),
    Internal(
        "registered_configs",
        "ConfigStore.instance().repo",
        "merged files are kept only for the configs that plug-ins have registered",
    ),
    Internal(
        "plain_of",
        "attributes of omegaconf.base.Node, Metadata and ContainerMetadata",
        "merged files are kept as JSON, with types and flags: a pickle could run code",
        versions=">=2.3,<2.4",
        package="omegaconf",
    ),
    Internal("command_line", "get_args_parser", "Hydra's own flags, read before Hydra starts"),
    Internal(
        "start_hydra",
        "Hydra.create_main_hydra2 and create_config_search_path",
        "the search path of `hydra.main` and `--config-dir`, without running",
    ),
    Internal(
        "count_interpolations",
        "omegaconf.base.Container._resolve_node_interpolation",
        "values that name each other twice make 2^40 of a file of 40 lines; OmegaConf has no bound",
        versions=">=2.3,<2.4",
        package="omegaconf",
    ),
    Internal(
        "HydraParts",
        "Plugins.instance() and Callbacks, outside hydra.main",
        "points of a sweep are checked, and reused, before a launcher sees them",
    ),
)

Compose = Callable[["Loader", "str | None", Sequence[str], bool], DictConfig]


@dataclass(frozen=True)
class ConfigFile:
    """One file of a composition, in the order of merging.

    Parameters
    ----------
    name
        Its path below a config folder, without `.yaml` (`model/switchpoint`).
    config
        Its content, embedded in its package.
    package
        Where it is embedded (`model`; empty for the whole config).
    ours
        Whether it is Hydra's, a plug-in's or bayesrun's, and not a user's.
    """

    name: str
    config: DictConfig
    package: str
    ours: bool


@dataclass(frozen=True)
class WrittenOverride:
    """An override as it was written, and as Hydra reads it.

    Parameters
    ----------
    text
        As written.
    override
        Parsed. `predict.data=NAME` is the choice `data@predict.data=NAME`.
    by_hand
        Whether it was written on the command line of this process, and not read from a file.
    """

    text: str
    override: Override
    by_hand: bool = True

    @property
    def key(self) -> str:
        """Its key, without a sign before it (`predict.data`, `sampler.draws`)."""
        return str(self.override.package or self.override.key_or_group)

    @property
    def sweeps(self) -> bool:
        """Whether it has several values."""
        return bool(self.override.is_sweep_override())


def parse_override(text: str, by_hand: bool = True) -> WrittenOverride:
    """Read one override.

    Raises
    ------
    OverrideParseException
        When it can't be read.
    """
    try:
        (parsed,) = OverridesParser.create().parse_overrides([text])
    except RecursionError as error:
        raise OverrideParseException(text, "it is nested too deeply") from error
    key = parsed.key_or_group
    if key in KEYS[1:] and isinstance(parsed.value(), str) and not parsed.is_delete():
        parsed.key_or_group, parsed.package, parsed.type = "data", key, OverrideType.ADD
    return WrittenOverride(text, parsed, by_hand)


def command_line() -> ArgumentParser:
    """Return the parser of Hydra's flags, with bayesrun's version."""
    parser = get_args_parser()
    parser.prog = "bayesrun"
    parser.usage = "bayesrun [-m] [KEY=VALUE ...] [FLAGS]; --help shows examples, --hydra-help the flags"
    for action in parser._actions:
        if action.dest == "version":
            action.version = f"bayesrun {__version__}"  # type: ignore[attr-defined]
            action.help = "Show the version and exit"
        if action.dest == "overrides":
            action.type = with_absolute_files
    parser.add_argument("--quiet", "-q", action="store_true", help="Print warnings and the verdict only")
    parser.add_argument("--verbose", "-v", action="store_true", help="Print all of what run.log holds")
    return parser


class _Repository(ConfigRepository):  # type: ignore[misc]  # untyped
    """Config files by name; a file that is too large or too deep is refused before it is read.

    A data file stands for the section that reads it. `looked_at` has each place where a file or folder was looked for,
    and what was there before it was read.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.looked_at: dict[str, str | None] = {}

    def _find_object_source(self, config_path: str, object_type: ObjectType | None) -> Any:
        for source in self.sources:
            if source.scheme() == "file":
                of_file = object_type == ObjectType.CONFIG
                name = ConfigSource._normalize_file_name(config_path) if of_file else config_path
                path = os.path.join(source.path, name)
                if path not in self.looked_at:
                    self.looked_at[path] = state_of(path)
        return super()._find_object_source(config_path, object_type)

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> Any:
        self._find_object_source(group_name, ObjectType.GROUP)  # whose folders are noted
        return super().get_group_options(group_name, results_filter)

    def load_config(self, config_path: str) -> Any:
        section = section_of(config_path)
        if section is not None:
            made = OmegaConf.create(section)
            return ConfigResult("bayesrun", f"file://{section['path']}", made, {"package": None}, defaults_list=[])
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.scheme() == "file":
            check_yaml(_path_in(source, config_path))
        return super().load_config(config_path)


class _CountingRepository(CachingConfigRepository):  # type: ignore[misc]  # untyped
    """Reads each file once; defaults lists that choose each other's files again and again are refused."""

    def __init__(self, delegate: _Repository) -> None:
        super().__init__(delegate)
        self.delegate.looked_at = delegate.looked_at  # type: ignore[attr-defined]  # Hydra copies what it is given
        self._reads = 0

    def load_config(self, config_path: str) -> Any:
        self._reads += 1
        if self._reads > _MAX_FILES:
            raise fail("defaults", f"the config is made of more than {_MAX_FILES} files", "choose each group once")
        return super().load_config(config_path)


def _path_in(source: Any, config_path: str) -> Path:
    return Path(os.path.realpath(os.path.join(source.path, ConfigSource._normalize_file_name(config_path))))


class Loader(ConfigLoaderImpl):  # type: ignore[misc]  # untyped
    """Hydra's config loader, which composes as bayesrun does: for single runs, and for jobs of any launcher.

    Parameters
    ----------
    search_path
        Where configs come from.
    conf
        The shipped config folder.
    compose
        Composes; given the loader, so that workers of other processes compose in the same way. It is pickled.
    """

    def __init__(self, search_path: ConfigSearchPath, conf: Path, compose: Compose) -> None:
        super().__init__(search_path)
        self.repository = self._files = _Repository(search_path)
        self.conf, self.compose = conf, compose

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose for a launcher or sweeper of Hydra's."""
        return self.compose(self, config_name, overrides, run_mode == RunMode.MULTIRUN)

    @property
    def looked_at(self) -> dict[str, str | None]:
        """What was at each place where a file or a folder was looked for so far."""
        return self._files.looked_at

    def is_choice(self, written: WrittenOverride) -> bool:
        """Return whether an override chooses a file of a group; the others set values."""
        override = written.override
        return bool(self.repository.group_exists(override.key_or_group)) and not isinstance(override.value(), dict)

    def open(self, config_name: str, searchpath: Sequence[str] | None) -> Any:
        """Return the repository of a composition: the config folders, and those of the primary config's searchpath.

        Parameters
        ----------
        config_name
            The primary config.
        searchpath
            Folders that the command line asks for, instead of the primary config's.
        """
        repository = _CountingRepository(self._files)
        loaded = repository.load_config(config_name)
        own = OmegaConf.select(loaded.config, "hydra.searchpath") if loaded and OmegaConf.is_dict(loaded.config) else ()
        folders = own if searchpath is None else searchpath
        if folders:
            repository.initialize_sources(_longer(self.config_search_path, [str(folder) for folder in folders]))
        return repository

    def searchpath_of(self, config_name: str) -> Any:
        """Return `hydra.searchpath` of the primary config, resolved; nothing of it is opened."""
        loaded = self.repository.load_config(config_name)
        if loaded is None or not OmegaConf.is_dict(loaded.config):
            return None
        found = OmegaConf.select(loaded.config, "hydra.searchpath")
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    def files(self, repository: Any, config_name: str, choices: Sequence[WrittenOverride], multirun: bool) -> Defaults:
        """Find the files of a composition.

        Parameters
        ----------
        repository
            From `open`.
        config_name
            The primary config.
        choices
            Overrides that choose files. One whose group has no file yet adds one.
        multirun
            Whether choices may be missing, as they are swept.

        Raises
        ------
        UnusedChoice
            When a choice has nothing to replace.
        HydraException
            When a file is not there (`MissingConfigException`), or a defaults list is wrong.
        """
        may_add = {"data", *(c.override.key_or_group for c in choices if c.override.is_add())}
        added: set[str] = set()
        while True:
            overrides = Overrides(repo=repository, overrides_list=[_as(c.override, added) for c in choices])
            defaults, _ = _create_defaults_list(
                repository, config_name, overrides, prepend_hydra=True, skip_missing=multirun
            )
            unused = [k for k, meta in overrides.override_metadata.items() if not meta.used and meta.external_override]
            if not may_add.intersection(unused):
                break
            added |= may_add.intersection(unused)
        if unused:
            raise UnusedChoice(unused[0])
        overrides.ensure_overrides_used()
        overrides.ensure_deletions_used()
        return Defaults(defaults, dict(overrides.known_choices))

    def load(self, repository: Any, default: Any) -> ConfigFile:
        """Read one file and embed it in its package."""
        loaded = self._load_single_config(default=default, repo=repository)
        if not isinstance(loaded.config, DictConfig):
            raise ConfigCompositionException(f"'{default.config_path}.yaml' must be a mapping of keys to values")
        return ConfigFile(default.config_path, loaded.config, default.package or "", self._ours(loaded, default))

    def _ours(self, loaded: Any, default: Any) -> bool:
        if ".." in Path(default.config_path).parts or Path(default.config_path).is_absolute():
            return False
        from_store = loaded.path in ("structured://", "pkg://hydra.conf")
        return from_store or (loaded.path == f"file://{self.conf}")

    def record(
        self,
        config: DictConfig,
        name: str,
        written: Sequence[WrittenOverride],
        choices: Mapping[str, Any],
        sources: Sequence[Sequence[str]],
    ) -> None:
        """Fill in what Hydra's node records about the composition itself, as Hydra does."""
        own = [w for w in written if not w.override.is_hydra_override()]
        with open_dict(config.hydra):
            config.hydra.runtime.choices.update(choices)
        config.hydra.overrides.hydra = [w.text for w in written if w.override.is_hydra_override()]
        config.hydra.overrides.task = [w.text for w in own]
        config.hydra.runtime.version = _hydra_version()
        config.hydra.runtime.version_base = VERSION_BASE
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.runtime.config_sources = [
            ConfigSourceInfo(path=path, schema=scheme, provider=provider) for path, scheme, provider in sources
        ]
        if OmegaConf.is_missing(config.hydra.job, "name"):
            config.hydra.job.name = JobRuntime().get("name")
        how = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=[w.override for w in own], kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
        )
        config.hydra.job.config_name = name


@cache
def _hydra_version() -> str:
    return version("hydra-core")


@dataclass(frozen=True)
class Defaults:
    """The files of a composition in the order of merging, as Hydra describes them, and the choice of each group."""

    files: Sequence[Any]
    choices: dict[str, Any]


class UnusedChoice(Exception):
    """An override chooses from a group that no defaults list has; holds the group's key."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _as(override: Override, added: set[str]) -> Override:
    """Read `+group=NAME` and `group=NAME` alike; a group of `added` has no file that could be replaced."""
    if override.is_delete() or override.package is not None:
        return override
    kind = OverrideType.ADD if override.get_key_element().lstrip("+") in added else OverrideType.CHANGE
    return replace(override, type=kind)


def _longer(path: ConfigSearchPath, folders: Sequence[str]) -> ConfigSearchPath:
    """Return a search path with further folders, before the schemas at its end."""
    longer = copy.deepcopy(path)
    schemas = longer.get_path().pop(-1)
    for folder in folders:
        longer.append(provider="hydra.searchpath", path=folder)
    longer.append(schemas.provider, schemas.path)
    return longer


def registered_configs() -> str:
    """Return a digest of the configs that Hydra's plug-ins, and other packages, have registered."""
    found = [(path, node.package, node.provider, _content(node.node)) for path, node in _registered("", _store())]
    return hashlib.blake2b(repr(sorted(found, key=lambda one: one[0])).encode(), digest_size=16).hexdigest()


def _store() -> dict[str, Any]:
    return ConfigStore.instance().repo


def _registered(path: str, repository: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, inner in repository.items():
        if isinstance(inner, dict):
            yield from _registered(f"{path}{name}/", inner)
        else:
            yield f"{path}{name}", inner


def _content(node: Any) -> str:
    """Return the class of a registered config and its values, as they are written."""
    return f"{OmegaConf.get_type(node)!r} {OmegaConf.to_container(node, resolve=False, enum_to_str=True)!r}"


def start_hydra(config_dir: str | None, conf: Path, compose: Compose) -> Loader:
    """Start Hydra on the shipped configs and the user's; `GlobalHydra` is it from here on.

    Parameters
    ----------
    config_dir
        `--config-dir`.
    conf
        The shipped config folder.
    compose
        See `Loader`.
    """
    search_path = create_config_search_path(str(conf))
    if config_dir:
        path, last = f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema")
        search_path.prepend("command-line", path, anchor=last)
    setbase(VERSION_BASE)
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("bayesrun", search_path)
    hydra.config_loader = Loader(search_path, conf, compose)
    return hydra.config_loader


_MAX_INTERPOLATIONS, _MAX_INTERPOLATED = 5_000, 200_000
_interpolations = _interpolated = 0
_resolve_node_interpolation = Container._resolve_node_interpolation


class TooManyInterpolations(InterpolationResolutionError):  # type: ignore[misc]  # untyped
    """The values of a config reference each other so often that resolving them would fill the memory."""


def count_interpolations() -> None:
    """Count resolved values from zero: more than 5,000 interpolations, or 200,000 values through them, are an error."""
    global _interpolations, _interpolated
    _interpolations = _interpolated = 0
    Container._resolve_node_interpolation = _counted  # type: ignore[method-assign]


def _counted(self: Container, inter_key: str, memo: set[int] | None) -> Node:
    global _interpolations, _interpolated
    found = _resolve_node_interpolation(self, inter_key=inter_key, memo=memo)
    _interpolations += 1
    _interpolated += _size(found)
    if _interpolations > _MAX_INTERPOLATIONS or _interpolated > _MAX_INTERPOLATED:
        most = f"{_MAX_INTERPOLATIONS:,} interpolations, or {_MAX_INTERPOLATED:,} values that they bring in"
        raise TooManyInterpolations(f"the config has more than {most}")
    return found


def _size(node: Any) -> int:
    content = node._content if isinstance(node, Container) else None
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + sum(map(_size, children))


@dataclass(frozen=True)
class HydraParts:
    """What makes Hydra's launchers and sweepers.

    Parameters
    ----------
    config
        The composed config of the sweep, with Hydra's node.
    loader
        Its config loader.
    """

    config: Any
    loader: Any

    def launcher(self, task: Callable[[DictConfig], Any]) -> Any:
        """Make the launcher that the config names."""
        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def sweeper(self, task: Callable[[DictConfig], Any]) -> Any:
        """Make the sweeper that the config names."""
        return Plugins.instance().instantiate_sweeper(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def _context(self) -> HydraContext:
        return HydraContext(config_loader=self.loader, callbacks=Callbacks(self.config))


__all__ = [
    "HYDRA_FAULTS",
    "INTERNALS",
    "ConfigFile",
    "Defaults",
    "HydraParts",
    "Loader",
    "MissingConfigException",
    "NotStorable",
    "OverrideParseException",
    "TooManyInterpolations",
    "UnusedChoice",
    "WrittenOverride",
    "command_line",
    "config_of",
    "count_interpolations",
    "parse_override",
    "plain_of",
    "registered_configs",
    "start_hydra",
]

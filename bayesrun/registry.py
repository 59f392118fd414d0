"""Registries: the modules of a folder register what they hold by name, and plug-in packages add theirs.

A folder such as `bayesrun/models` is a registry. Each of its modules but `base` registers one entry under the
module's own name, held in an attribute that the folder chooses (`MODEL` in `bayesrun.models.switchpoint`). Small
entries of one subject may share a module: the registry lists their names, and the module holds them by name (`MODELS`).
Names are listed without importing the modules; a module is imported when what it registers is needed.

A plug-in package adds names through entry points of the group that has the folder's name:

    [project.entry-points."bayesrun.models"]
    my_model = "my_package.my_model"             # a module with MODEL, as in bayesrun itself
    [project.entry-points."bayesrun.diagnostics"]
    too_high = "my_package.my_checks"            # a module with CHECKS = {"too_high": ..., "too_low": ...}
    too_low = "my_package.my_checks"

Only packages that the config lists under `plugins` are used, and they are imported only when needed.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar

from bayesrun.errors import Problem, did_you_mean, fail

T = TypeVar("T")

_GROUPS = "bayesrun."


@dataclass
class Registry(Generic[T]):
    """What one folder registers, by name.

    Parameters
    ----------
    kind
        What an entry is called in messages ("model type").
    folder
        Package whose modules are registered (`bayesrun.models`); also the entry-point group.
    attribute
        Name of the module attribute that holds the entry (`MODEL`).
    thing
        Class that the attribute must be an instance of.
    others
        Modules of the folder that register nothing (so do `base` and those that begin with an underscore).
    shared
        Modules that hold several entries, with their names. Their attribute ends in an S and is a mapping of names to
        entries.
    """

    kind: str
    folder: str
    attribute: str
    thing: type[T]
    others: tuple[str, ...] = ()
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _added: dict[str, EntryPoint] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All registered names, sorted; imports none of their modules."""
        package = importlib.import_module(self.folder)
        passed_over = {"base", *self.others, *self.shared}
        modules = _modules_in(tuple((path, _changed(path)) for path in package.__path__))
        own = [name for name in modules if name not in passed_over and not name.startswith("_")]
        return sorted([*own, *(name for names in self.shared.values() for name in names), *self._added])

    def load(self, name: str, key: str) -> T:
        """Import and return the entry called `name`; `key` is where the config names it.

        Raises
        ------
        UserError
            When no such name is registered, or a plug-in's module is broken.
        """
        if name not in self.names():
            raise fail(key, f"unknown {self.kind} '{name}'", did_you_mean(name, self.names()))
        entry = self._added.get(name)
        module = _import_plugin(entry, key) if entry else importlib.import_module(self.module_of(name))
        several = getattr(module, f"{self.attribute}S", None)
        thing = several.get(name) if isinstance(several, dict) else getattr(module, self.attribute, None)
        if not isinstance(thing, self.thing):
            where = entry.value if entry else module.__name__
            attribute = f"{self.attribute}S['{name}']" if isinstance(several, dict) else self.attribute
            raise fail(key, f"'{where}' has no {attribute} of type {self.thing.__name__}", "fix the plug-in")
        return thing

    def module_of(self, name: str) -> str:
        """Return the module of the folder that holds one of its own names."""
        together = next((module for module, names in self.shared.items() if name in names), name)
        return f"{self.folder}.{together}"

    def add(self, entry: EntryPoint) -> None:
        """Register a plug-in's entry point without importing it; a name that is taken is refused."""
        if entry.name in self._added and self._added[entry.name] == entry:
            return
        if entry.name in self.names():
            raise fail("plugins", f"{self.kind} '{entry.name}' of '{entry.value}' is registered already", "rename it")
        self._added[entry.name] = entry


@dataclass
class TableRegistry(Registry[T]):
    """Small entries in one table instead of a module each; plug-ins add more of them.

    Parameters
    ----------
    table
        Name to entry.
    """

    table: Mapping[str, T] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted([*self.table, *self._added])

    def load(self, name: str, key: str) -> T:
        """Return the entry called `name`; `key` is where the config names it.

        Raises
        ------
        UserError
            When no such name is registered, or a plug-in's module is broken.
        """
        return self.table[name] if name in self.table else super().load(name, key)


@lru_cache(maxsize=64)
def _modules_in(folders: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return the names of the modules in folders, which are listed again when one of them has changed."""
    return tuple(module.name for module in pkgutil.iter_modules([path for path, _ in folders]))


def _changed(folder: str) -> int:
    """Return when a folder was last changed, in nanoseconds; 0 where that is not known, as in an archive."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _import_plugin(entry: EntryPoint, key: str) -> Any:
    try:
        return entry.load()
    except Exception as error:  # a plug-in may fail in any way
        message = f"plug-in '{entry.value}' can't be imported: {type(error).__name__}: {error}"
        raise fail(key, message, "fix or reinstall the plug-in package") from error


def load_plugins(packages: Sequence[str], registries: Sequence[Registry[Any]]) -> list[Problem]:
    """Add the registrations of installed packages to the registries.

    Parameters
    ----------
    packages
        Names of installed distributions (`plugins` in the config).
    registries
        The registries that may be added to.

    Returns
    -------
    list of Problem
        Packages that are not installed or register nothing.
    """
    by_group = {r.folder: r for r in registries}
    problems = []
    for index, package in enumerate(packages):
        found = _entry_points(package)
        if not found:
            hint = "install it; it must declare entry points in a group such as 'bayesrun.models'"
            problems.append(Problem(f"plugins[{index}]", f"'{package}' is not an installed bayesrun plug-in", hint))
        for entry in found:
            if entry.group in by_group:
                by_group[entry.group].add(entry)
    return problems


def _entry_points(package: str) -> list[EntryPoint]:
    """Return the registrations of an installed package.

    The current folder is not searched, although `python -m` puts it on Python's path: a config that comes with a
    package beside it must not choose that.
    """
    installed = [path for path in sys.path if path and Path(path).resolve() != Path.cwd()]
    try:
        found = next(iter(Distribution.discover(name=package, path=installed)), None)
    except ValueError:
        return []
    return [entry for entry in found.entry_points if entry.group.startswith(_GROUPS)] if found else []

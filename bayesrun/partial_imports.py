"""Libraries of which bayesrun needs a part, imported without the rest, which loads when something of it is asked for.

==================  ==================================================================  ================  ============
function            what is left out, and why                                           versions          benefit
==================  ==================================================================  ================  ============
`import_arviz`      ArviZ's plots, Matplotlib and `pkg_resources`, which it imports to  ArviZ 0.12        0.22 s until
                    find one version and two files: a verdict needs none of them        (pinned)          the verdict
`import_matplotlib` the docstrings of all setters, which nobody reads: a third of the   Matplotlib 3.7,   0.08 s a
                    import                                                              3.8 (pinned)      command
==================  ==================================================================  ================  ============

`hidden` and `bare` serve `engines/pymc3/patches/pymc3_without_plots` and `tracking/mlflow_patches`, too. All of it can
still be imported and used afterwards, as `tests/unit/test_partial_imports.py` does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import pkgutil
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, ClassVar


class BarePackage(types.ModuleType):
    """Stands for a package whose own code has not run; it is imported whole for the first name that is missing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or sys.modules.get(self.__name__) is self:
            raise AttributeError(name)  # within `bare`, where modules of the package are imported, and nothing else
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


class _WholeImports(MetaPathFinder):
    """Finds packages that stood bare before, when they are imported whole."""

    names: ClassVar[set[str]] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in self.names else None
        if spec is not None and spec.origin is not None:
            spec.loader = _WithImportedModules(fullname, spec.origin)
        return spec


class _WithImportedModules(SourceFileLoader):
    """Gives a package its modules that were imported before it, as attributes; Python does so only at their import."""

    def exec_module(self, module: types.ModuleType) -> None:
        for name, imported in list(sys.modules.items()):
            package, _, own = name.rpartition(".")
            if package == module.__name__ and imported is not None:
                setattr(module, own, imported)
        super().exec_module(module)


@contextmanager
def hidden(libraries: Sequence[str]) -> Iterator[None]:
    """Keep libraries that are not imported yet from being found, for the time of the block."""
    absent = [name for name in libraries if name not in sys.modules]
    for name in absent:  # Python's own way to say that a module can't be imported
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def bare(root: str, packages: Sequence[str]) -> Iterator[Mapping[str, BarePackage]]:
    """Let modules within packages be imported without running the packages' own code, for the time of the block.

    Parameters
    ----------
    root
        An installed library.
    packages
        Packages or modules of it, as `stats` or `stats.tests`; `""` is the library itself.

    Yields
    ------
    mapping of str to BarePackage
        Those that are bare, by their whole names; what is imported already is left as it is. After the block, each is
        imported whole when a name that it lacks is asked for, or a further module of it.
    """
    found = importlib.util.find_spec(root)
    folders = list(found.submodule_search_locations or []) if found else []
    made = {}
    for package in packages:
        name = f"{root}.{package}" if package else root
        if name not in sys.modules and folders:
            made[name] = _bare_package(name, os.path.join(folders[0], *package.split(".")) if package else folders[0])
    with _standing_in(made):
        yield made


def _bare_package(name: str, folder: str) -> BarePackage:
    module, path = BarePackage(name), os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[folder])
    module.__spec__, module.__loader__ = spec, spec.loader if spec else None
    module.__path__, module.__file__ = [folder], path
    return module


@contextmanager
def _standing_in(made: Mapping[str, BarePackage]) -> Iterator[None]:
    if not any(isinstance(finder, _WholeImports) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WholeImports())
    _WholeImports.names.update(made)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in made.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
            parent, _, own = name.rpartition(".")
            if parent in sys.modules and own not in vars(sys.modules[parent]):
                setattr(sys.modules[parent], own, module)


@contextmanager
def arviz_without_plots() -> Iterator[None]:
    """Let `import arviz` give its data structures and statistics alone, for the time of the block."""
    if "arviz" in sys.modules:
        yield
        return
    with bare("matplotlib", ["", "pyplot"]) as made:
        if len(made) == 2:
            vars(made["matplotlib"])["pyplot"] = made["matplotlib.pyplot"]
        with _standing_in({"arviz": _data_and_statistics()}):
            yield


@cache
def _data_and_statistics() -> BarePackage:
    with bare("arviz", [""]) as made, _small_pkg_resources():
        arviz = made["arviz"]
        # its modules ask for these
        vars(arviz).update(_log=logging.getLogger("arviz"), __version__=importlib.metadata.version("arviz"))
        for part in ("data", "stats"):
            module = importlib.import_module(f"arviz.{part}")
            public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
            vars(arviz).update({name: getattr(module, name) for name in public}, **{part: module})
    return arviz


def import_arviz() -> types.ModuleType:
    """Import ArviZ's data structures and statistics, once per process.

    Returns
    -------
    module
        ArviZ; what it has beside them is imported when it is asked for.
    """
    with arviz_without_plots():
        return sys.modules["arviz"]


@contextmanager
def _small_pkg_resources() -> Iterator[None]:
    """Give ArviZ the three names of `pkg_resources` that it uses, from Python's own library."""
    if "pkg_resources" in sys.modules:
        yield
        return
    module = types.ModuleType("pkg_resources")
    names = {
        "get_distribution": importlib.metadata.distribution,
        "DistributionNotFound": importlib.metadata.PackageNotFoundError,
        "resource_string": pkgutil.get_data,
    }
    vars(module).update(names)
    sys.modules["pkg_resources"] = module
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]


def import_matplotlib() -> None:
    """Import Matplotlib's figures, once per process, without the docstrings of their setters."""
    if "matplotlib.figure" in sys.modules:
        return
    import matplotlib.artist

    original = matplotlib.artist.kwdoc
    matplotlib.artist.kwdoc = lambda artist: ""
    try:
        importlib.import_module("matplotlib.figure")
    finally:
        matplotlib.artist.kwdoc = original

"""What the code must look like: imports inside a folder, and nothing that a committed file must not name."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from bayesrun.config.run_config import REGISTRIES
from bayesrun.registry import Registry, TableRegistry
from bayesrun.tasks.base import TASKS
from tests.conftest import ROOT


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


WRITTEN_IN = {"bayesrun.models.declarative"}
"""What other things of the folder are written in: a regression is a declarative model."""


@pytest.mark.parametrize(
    "registry", [r for r in REGISTRIES if not isinstance(r, TableRegistry)], ids=lambda registry: registry.folder
)
def test_registered_files_of_a_folder_do_not_import_each_other(registry: Registry[Any]) -> None:
    own = {registry.module_of(name) for name in registry.names()}
    for module in own:
        place = ROOT / module.replace(".", "/")
        for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            others = own - {module} - WRITTEN_IN
            assert not others & _imported(path), f"{path} imports a registered file of its own folder"


def test_names_of_modules_are_unique_but_for_those_that_users_choose() -> None:
    chosen = {registry.module_of(name) for registry in (*REGISTRIES, TASKS) for name in registry.names()}
    found: dict[str, list[str]] = {}
    for path in (ROOT / "bayesrun").rglob("*.py"):
        if path.name not in ("__init__.py", "base.py"):  # a folder, and the protocol of what is in one
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.setdefault(path.stem, []).append(module)
    repeated = [modules for modules in found.values() if len(modules) > 1]
    assert not [modules for modules in repeated if not chosen.issuperset(modules)]


SHARED_NAMES = {
    "Options": "each model type's own, `model.options`, and imported by no other module",
}
"""Names that several public classes have on purpose, and why nobody mixes them up."""


def test_names_of_public_classes_are_unique() -> None:
    found: dict[str, list[str]] = {}
    for path in (ROOT / "bayesrun").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert len(found) > 300  # the classes are found
    assert {name: paths for name, paths in found.items() if len(paths) > 1 and name not in SHARED_NAMES} == {}
    assert not [name for name in SHARED_NAMES if len(found[name]) < 2], "a name that is no longer shared"


def test_no_committed_text_names_a_registry_host() -> None:
    host = "pypi" + ".org"
    files = [*ROOT.glob("*.toml"), *ROOT.glob("*.lock"), *ROOT.glob("*.md"), *(ROOT / "conf").rglob("*.yaml")]
    assert files
    assert not [f.name for f in files if f.name != "uv.lock" and host in f.read_text()]

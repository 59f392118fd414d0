"""What the code must look like: imports inside a folder, and nothing that a committed file must not name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bayesrun.config import REGISTRIES
from tests.conftest import ROOT

PACKAGE = ROOT / "bayesrun"
FOLDERS = ("data", "models", "inference", "diagnostics", "figures", "tracking")


def _modules_of(folder: str) -> list[Path]:
    (registry,) = [r for r in REGISTRIES if r.folder == f"bayesrun.{folder}"]
    return [PACKAGE / folder / f"{name}.py" for name in registry.names()]


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


@pytest.mark.parametrize("folder", ["data", "models", "diagnostics", "figures", "tracking"])
def test_registered_files_of_a_folder_do_not_import_each_other(folder: str) -> None:
    own = {f"bayesrun.{folder}.{p.stem}" for p in _modules_of(folder)}
    for path in _modules_of(folder):
        assert not own & _imported(path), f"{path.name} imports a file of its own folder"


def test_no_committed_text_names_a_registry_host() -> None:
    host = "pypi" + ".org"
    files = [*ROOT.glob("*.toml"), *ROOT.glob("*.lock"), *ROOT.glob("*.md"), *(ROOT / "conf").rglob("*.yaml")]
    assert files
    assert not [f.name for f in files if f.name != "uv.lock" and host in f.read_text()]

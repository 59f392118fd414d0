"""Names to things: listed without importing, duplicates refused, a broken plug-in reported when it is requested."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bayesrun.diagnostics.base import CHECKS, Check
from bayesrun.errors import UserError
from bayesrun.registry import Registry, load_plugins

FOLDER = "bayesrun.diagnostics"


@pytest.fixture
def checks() -> Registry[Check]:
    """A registry over bayesrun's own folder, apart from the one in use."""
    return Registry("check", FOLDER, "CHECK", Check, others=CHECKS.others, shared=CHECKS.shared)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution `throw-away` without any entry point or module yet."""
    info = tmp_path / "throw_away-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: throw-away\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def declare(package: Path, entries: str) -> None:
    (package / "throw_away-1.0.dist-info" / "entry_points.txt").write_text(entries)


def test_names_are_files_and_what_shared_modules_hold(checks: Registry[Check]) -> None:
    import bayesrun.diagnostics

    files = {p.stem for p in Path(bayesrun.diagnostics.__path__[0]).glob("*.py") if not p.stem.startswith("_")}
    alone = files - {"base", *checks.others, *checks.shared}
    assert alone
    assert set(checks.shared) <= files
    assert checks.names() == sorted([*alone, *(name for names in checks.shared.values() for name in names)])


def test_listing_names_imports_none_of_their_modules() -> None:
    code = (
        "import sys; from bayesrun.diagnostics.base import CHECKS; names = CHECKS.names(); assert names;"
        "print([n for n in names if CHECKS.module_of(n) in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_told_with_its_key_and_the_nearest_one(checks: Registry[Check]) -> None:
    with pytest.raises(UserError, match=r"diagnostics.checks\[2\]: unknown check 'rhat'\n.*did you mean 'r_hat'"):
        checks.load("rhat", "diagnostics.checks[2]")


def test_a_taken_name_is_refused(checks: Registry[Check]) -> None:
    with pytest.raises(UserError, match="check 'ess' of 'other' is registered already"):
        checks.add(EntryPoint("ess", "other", FOLDER))
    checks.add(EntryPoint("mine", "one", FOLDER))
    checks.add(EntryPoint("mine", "one", FOLDER))  # the same once more, as in a sweep, is no duplicate
    with pytest.raises(UserError, match="check 'mine' of 'two' is registered already"):
        checks.add(EntryPoint("mine", "two", FOLDER))


def test_a_plug_in_is_imported_only_when_it_is_asked_for(checks: Registry[Check], package: Path) -> None:
    (package / "my_check.py").write_text("raise RuntimeError('half-finished')\n")
    declare(package, f"[{FOLDER}]\nmine = my_check\n")
    assert load_plugins(["throw-away"], [checks]) == []
    assert "mine" in checks.names()
    with pytest.raises(UserError, match="'my_check' can't be imported: RuntimeError: half-finished"):
        checks.load("mine", "diagnostics.checks[0]")


def test_a_plug_in_without_its_attribute_is_told(checks: Registry[Check], package: Path) -> None:
    (package / "empty_check.py").write_text("CHECK = 3\n")
    declare(package, f"[{FOLDER}]\nempty = empty_check\n")
    load_plugins(["throw-away"], [checks])
    with pytest.raises(UserError, match="'empty_check' has no CHECK of type Check"):
        checks.load("empty", "diagnostics.checks[0]")


def test_a_module_of_a_plug_in_may_hold_several_things(checks: Registry[Check], package: Path) -> None:
    (package / "two_checks.py").write_text(
        "from bayesrun.diagnostics.base import Check, CheckResult\n"
        "CHECKS = {n: Check(lambda judged: CheckResult(), (n,)) for n in ('nuts', 'smc')}\n"
    )
    declare(package, f"[{FOLDER}]\nnuts = two_checks\nsmc = two_checks\nadvi = two_checks\n")
    assert load_plugins(["throw-away"], [checks]) == []
    assert [checks.load(name, "k").methods for name in ("nuts", "smc")] == [("nuts",), ("smc",)]
    with pytest.raises(UserError, match=r"'two_checks' has no CHECKS\['advi'\] of type Check"):
        checks.load("advi", "k")


def test_a_plug_in_is_loaded(checks: Registry[Check], package: Path) -> None:
    (package / "good_check.py").write_text(
        "from bayesrun.diagnostics.base import Check, CheckResult\nCHECK = Check(lambda judged: CheckResult())\n"
    )
    declare(package, f"[{FOLDER}]\ngood = good_check\n")
    load_plugins(["throw-away"], [checks])
    assert isinstance(checks.load("good", "k"), Check)
    assert "good" not in CHECKS.names()


@pytest.mark.parametrize("entries", [None, "", "[console_scripts]\nx = y:z\n"])
def test_packages_that_add_nothing_are_problems(checks: Registry[Check], package: Path, entries: str | None) -> None:
    if entries is not None:
        declare(package, entries)
    problems = load_plugins(["throw-away", "no-such-package", ""], [checks])
    assert [p.key for p in problems] == ["plugins[0]", "plugins[1]", "plugins[2]"]
    assert all("is not an installed bayesrun plug-in" in p.message and p.hint for p in problems)


def test_a_module_that_is_added_to_a_folder_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "listed_package"
    package.mkdir()
    for name in ("__init__", "base", "one"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("thing", "listed_package", "THING", int)
    assert registry.names() == registry.names() == ["one"]
    (package / "two.py").write_text("")
    os.utime(package, ns=(0, 1))  # as where clocks are coarse, the folder's time is another one all the same
    assert registry.names() == ["one", "two"]

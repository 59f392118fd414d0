"""Patches: the versions they were tested with."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import pytest
from packaging.specifiers import SpecifierSet

from bayesrun.jobs import patches
from bayesrun.jobs.launch import TRAITS
from bayesrun.jobs.patches import PATCHES, LauncherPatch


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_each_patch_is_here_and_fits_the_installed_library(patch: LauncherPatch) -> None:
    assert hasattr(patches, patch.name)
    assert SpecifierSet(patch.versions).contains(version(patch.library))
    assert patch.what and patch.why


@pytest.mark.parametrize("target", TRAITS)
def test_each_known_launcher_exists(target: str) -> None:
    module, _, name = target.rpartition(".")
    if "ray" in module:
        pytest.importorskip(module, reason="NOT TESTED: Ray is not installed: pip install 'bayesrun[ray]'")
    assert hasattr(import_module(module), name)

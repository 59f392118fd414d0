"""The tests of Ray's launcher, with Ray beside the development tools, which need another cloudpickle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

pytestmark = pytest.mark.slow


def _uv(*words: str) -> subprocess.CompletedProcess[str]:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which installs Ray for these tests, is not there")
    return subprocess.run([uv, *words], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def _is_installed(requirement: str) -> bool:
    name, _, version = requirement.partition(";")[0].strip().partition("==")
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def test_a_launcher_that_is_not_installed_names_the_command_that_installs_it(bayesrun: Command, tmp_path: Path) -> None:
    if util.find_spec("ray") is not None:
        pytest.skip("Ray is installed here")
    given = ("-m", "launcher=ray", "model=eight_schools", "seed=1,2", f"paths.outputs={tmp_path}")
    done = bayesrun(*given)
    assert done.returncode == 1
    assert (
        "'ray' is not installed: it is an extra of bayesrun\n    install it: pip install 'bayesrun[ray]'" in done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_the_tests_of_the_cluster_pass_where_ray_is_installed(tmp_path: Path) -> None:
    if util.find_spec("ray") is not None:
        pytest.skip("Ray is installed here, so its tests run by themselves")
    locked = _uv(
        "export",
        "-q",
        "--frozen",
        "--no-default-groups",
        "--extra",
        "ray",
        "--no-emit-project",
        "--no-hashes",
        "--no-annotate",
    )
    assert locked.returncode == 0, locked.stderr
    lines = [line for line in locked.stdout.splitlines() if "==" in line and not _is_installed(line)]
    assert any(line.startswith("ray==") for line in lines)
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("\n".join(lines))
    beside = tmp_path / "packages"
    made = _uv(
        "pip", "install", "-q", "--no-deps", "--python", sys.executable, "--target", str(beside), "-r", str(wanted)
    )
    if made.returncode != 0:
        pytest.skip(f"Ray could not be installed: {made.stderr.strip()[-300:]}")
    command = [sys.executable, "-m", "pytest", "-n0", "-rs", "tests/integration/test_sweep_ray.py"]
    env = {**os.environ, "PYTHONPATH": str(beside)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout and "skipped" not in done.stdout, done.stdout

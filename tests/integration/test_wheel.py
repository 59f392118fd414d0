"""The wheel carries what it needs: installed outside the checkout, the console script finds `conf/` and data."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_composes_its_config(tmp_path: Path) -> None:
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", ROOT], check=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, wheel], check=True, cwd=tmp_path)
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "bayesrun", "model=switchpoint", "--cfg", "job"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "type: switchpoint" in done.stdout
    found = subprocess.run(
        [
            python,
            "-c",
            "from bayesrun.config.resolvers import conf, data; print(conf(), (data() / 'sp500.csv').exists())",
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path) in found.stdout
    assert found.stdout.split()[-1] == "True"
    assert sys.version_info[:2] == (3, 10)

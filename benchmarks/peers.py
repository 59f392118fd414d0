"""The peers' environment: CPython 3.12 with PyMC 6, nutpie, NumPyro and PyStan, made by uv in a cache folder.

python benchmarks/peers.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("BAYESRUN_PEERS") or HERE / ".cache" / "peers")
"""The environment; `BAYESRUN_PEERS` names another one that is already made."""
PYTHON = FOLDER / "bin" / "python"
REQUIREMENTS = HERE / "peers.txt"
LIBRARIES = {"pymc": "PyMC 6 + nutpie", "bambi": "Bambi", "numpyro": "NumPyro", "stan": "PyStan"}


def environment() -> tuple[dict[str, str], list[str]]:
    """Make the environment if it is not there.

    Returns
    -------
    usable : dict
        Script name to label of each library that can be imported.
    failures : list of str
        Libraries that can't, with the reason.
    """
    try:
        _make()
    except (OSError, subprocess.CalledProcessError) as error:
        return {}, [f"{label}: no environment ({error})" for label in LIBRARIES.values()]
    usable, failures = {}, []
    for name, label in LIBRARIES.items():
        problem = _import_problem(name)
        if problem is None:
            usable[name] = label
        else:
            failures.append(f"{label}: {problem}")
    return usable, failures


def versions() -> dict[str, str]:
    """Return what is installed in the peers' environment."""
    listed = _uv("pip", "list", "--format", "json", "--python", str(PYTHON))
    wanted = {"pymc", "bambi", "nutpie", "numpyro", "jax", "pystan", "numba", "pytensor"}
    return {package["name"]: package["version"] for package in json.loads(listed) if package["name"] in wanted}


def _make() -> None:
    if not PYTHON.exists():
        _uv("venv", "--quiet", "--python", _python(), str(FOLDER))
        _uv("pip", "install", "--quiet", "--python", str(PYTHON), "-r", str(REQUIREMENTS))


def _python() -> str:
    """Name a CPython 3.12 for uv; pyenv's, where uv can't download one."""
    found = sorted(Path.home().glob(".pyenv/versions/3.12.*/bin/python"))
    return str(found[-1]) if found else "3.12"


def _uv(*arguments: str) -> str:
    # --no-config: bayesrun's own overrides (an old ArviZ) are not for the peers
    command = [shutil.which("uv") or "uv", "--no-config", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _import_problem(name: str) -> str | None:
    done = subprocess.run([PYTHON, "-W", "ignore", "-c", f"import {name}"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it can't be imported"])[-1]


if __name__ == "__main__":
    print(*environment(), versions(), sep="\n")

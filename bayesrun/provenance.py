"""Where a posterior comes from: what is needed to get the same numbers again (`provenance.json`)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bayesrun.redaction import redact_lines
from bayesrun.version import __version__

PACKAGES = (
    "pymc3",
    "theano-pymc",
    "arviz",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "nutpie",
)


_OF_NO_MOMENT = ("name", "experiment_name", "tags", "report", "paths", "tracking", "store")


def config_digest(plain: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what decides the posterior: the config without names, places, tracking and display."""
    kept = {k: v for k, v in plain.items() if k not in _OF_NO_MOMENT}
    kept["sampler"] = {k: v for k, v in (kept.get("sampler") or {}).items() if k not in ("progress", "cores")}
    kept["model"] = {k: v for k, v in (kept.get("model") or {}).items() if k != "figures"}
    data = kept.get("data") or {}
    if data.get("sha256"):  # which file it is, wherever it is
        kept["data"] = {k: v for k, v in data.items() if k != "path"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def provenance(plain: Mapping[str, Any], data_digest: str | None, compiler: str) -> dict[str, Any]:
    """Collect the environment record of a run.

    Parameters
    ----------
    plain
        The resolved config.
    data_digest
        Digest of the prepared data; null for a model without data.
    compiler
        C++ compiler that Theano uses.

    Returns
    -------
    dict
        Seed, versions, platform, git state, digests, command line and the time of the start.
    """
    return {
        "seed": plain.get("seed"),
        "started": now(),
        "command_line": [sys.executable, *sys.argv],
        "config_digest": config_digest(plain),
        "data_digest": data_digest,
        "code_digest": code_digest(),
        "packages": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
        "compiler": compiler,
        **git_state(Path(__file__).parent),
    }


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the SHA-256 of bayesrun's own source, including uncommitted changes."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def versions() -> dict[str, str | None]:
    """Return the versions of bayesrun and of packages that can change the numbers; null where one is not installed."""
    return {"bayesrun": __version__} | {name: _version(name) for name in PACKAGES}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, str | None]:
    """Return the commit and the uncommitted changes of the checkout that bayesrun runs from, if it is one."""
    root, _, commit = (_git(folder, "rev-parse", "--show-toplevel", "HEAD") or "").rpartition("\n")
    if not root or not (Path(root) / "bayesrun" / "provenance.py").exists():
        return {"git_commit": None, "git_diff": None}
    changes = _git(Path(root), "diff", "HEAD")
    return {"git_commit": commit, "git_diff": changes and redact_lines(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None

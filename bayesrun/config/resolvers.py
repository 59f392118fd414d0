"""Where bayesrun's own files are, in a checkout or an installed package, and the resolvers that return the paths."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bayesrun.config.table_files import short
from bayesrun.redaction import redact_override

PACKAGE = Path(__file__).resolve().parent.parent
_SILENT = (
    "paths",
    "tracking",
    "hydra",
    "store",
    "sweep",
    "resume",
    "force",
    "fail_fast",
    "task",
    "run",
    "runs",
    "launcher",
    "sweeper",
    "name",
    "experiment_name",
    "tags",
    "sampler.progress",
    "model.figures",
    "data.url",
)
_MAX_LENGTH = 80


def conf() -> Path:
    """Return the shipped config folder."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def data() -> Path:
    """Return the folder of the shipped data sets."""
    packaged = PACKAGE / "sample_data"
    return packaged if packaged.is_dir() else PACKAGE.parent / "data"


def root() -> Path:
    """Return the checkout; the current folder for an installed bayesrun."""
    return Path.cwd() if (PACKAGE / "conf").is_dir() else PACKAGE.parent


def run_name(name: str | None, model: str, overrides: str) -> str:
    """Make a run's name from its model and what was overridden, fit for a folder.

    Parameters
    ----------
    name
        The config's `name`; wins when given.
    model
        Name of the model.
    overrides
        `key=value` pairs joined by commas.
    """
    if name:
        return _slug(name)
    named = [o for o in re.split(r",(?=[+~]*[\w./@-]+=)", overrides) if _tells(o)]
    named = [o for o in named if redact_override(o) == o]  # a folder's name is read by everybody
    named = [short(o) for o in named]
    parts = [".".join(o.lstrip("+").split("=", 1)[0].split(".")[-2:]) + "=" + o.split("=", 1)[1] for o in named]
    return _slug("_".join([model, *parts]))[:_MAX_LENGTH].rstrip("_.-")


def workers(cores: Any) -> int:
    """Return how many jobs of `cores` processes each this machine has processors for."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, int(cores or 1)))


def task_overrides(hydra: Any) -> list[str]:
    """Return the overrides of Hydra's node as they were written: an interpolation in one is not resolved."""
    written = hydra.overrides.task
    plain: Any = OmegaConf.to_container(written, resolve=False) if OmegaConf.is_config(written) else written
    return [str(override) for override in plain]


def register_resolvers() -> None:
    """Make `${bayesrun.root:}` and its like known to OmegaConf; forbid reading the environment from YAML."""
    OmegaConf.register_new_resolver("bayesrun.root", lambda: str(root()), replace=True)
    OmegaConf.register_new_resolver("bayesrun.data", lambda: str(data()), replace=True)
    OmegaConf.register_new_resolver("bayesrun.run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("bayesrun.workers", workers, replace=True)
    OmegaConf.register_new_resolver("oc.env", _no_environment, replace=True)


def _run_name(name: Any, model: Any, overrides: Any) -> str:
    return run_name(None if name in (None, "null") else str(name), str(model), str(overrides or ""))


def _no_environment(*names: str) -> str:
    raise ValueError("oc.env is not allowed: a config that others run must not read their environment")


def _tells(override: str) -> bool:
    key = override.lstrip("+").split("=")[0]
    return "=" in override and key != "model" and not any(key == s or key.startswith(f"{s}.") for s in _SILENT)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")

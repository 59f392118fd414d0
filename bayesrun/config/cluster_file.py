"""`cluster=FILE`: what the cluster needs before a job starts, read from the user's own file.

    setup: [module load gcc]            # lines of the shell, before each job
    environment: {OMP_NUM_THREADS: 1}   # variables of each job

These lines are executed. The file must therefore be named on the command line of this process, be below the user's
home, and be writable by nobody else; a config that others share has no such key.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import StringConstraints

from bayesrun.config.yaml_limits import check_yaml
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.redaction import remember_texts, secrets_of
from bayesrun.schema import Section, parse
from bayesrun.secret_patterns import is_secret_key

KEY = "cluster"


class ClusterFile(Section):
    """Keys of the file: `setup` (lines of the shell) and `environment` (variables)."""

    setup: list[str] = []
    environment: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")], str | int | float] = {}

    def lines(self) -> list[str]:
        """Return the lines that a job's script begins with; the script is a file that others may read."""
        secret = self.secrets()
        exports = [f"export {n}={shlex.quote(str(v))}" for n, v in self.environment.items() if n not in secret]
        return [*exports, *self.setup]

    def secrets(self) -> dict[str, str]:
        """Return the variables that hold secrets; a queue takes them from the environment of this process."""
        variables = {name: str(value) for name, value in self.environment.items()}
        return {n: v for n, v in variables.items() if is_secret_key(n) or secrets_of(v)}


def set_up_cluster(config: DictConfig, named: str | None, launcher: str) -> list[Problem]:
    """Put the lines of the user's file into the launcher's node.

    Parameters
    ----------
    config
        The composed config; it is changed.
    named
        The file that the command line names; null where it names none.
    launcher
        Hydra's name of the launcher.

    Returns
    -------
    list of Problem
        Problems with the file, or with the place where it is named.
    """
    if named is None:
        written = OmegaConf.select(config, KEY, throw_on_missing=False)
        hint = f"leave it out, and write {KEY}=FILE on the command line"
        return [] if written is None else [Problem(KEY, "may not be set in a file: its lines are run", hint)]
    if launcher != "submitit_slurm":
        return [Problem(KEY, "is for jobs on a cluster", "choose launcher=slurm too")]
    try:
        content = _read(Path(named).expanduser())
    except UserError as error:
        return list(error.problems)
    os.environ.update(content.secrets())
    remember_texts(content.secrets().values())
    with open_dict(config.hydra):
        config.hydra.launcher.setup = [*(config.hydra.launcher.setup or []), *content.lines()]
    return []


def secret_lines(lines: Sequence[str], key: str) -> list[Problem]:
    """Refuse lines of the shell that hold a secret: they are written into the job's script.

    Parameters
    ----------
    lines
        The lines; a secret that the shell itself finds (`TOKEN=$(cat ~/.token)`) is allowed.
    key
        Config key of the list.
    """
    hint = "set the variable before the command, or below 'environment' of cluster=FILE: the job gets it from there"
    return [
        Problem(f"{key}[{index}]", "holds a secret, which the job's script would show to others", hint)
        for index, line in enumerate(lines)
        if any(not secret.startswith(("$", "`")) for secret in secrets_of(line))
    ]


def _read(path: Path) -> ClusterFile:
    """Read the file, provided that only the user can write to it.

    Raises
    ------
    UserError
        When others can write to it, or it has keys that are not allowed.
    """
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except OSError as error:
        raise fail(KEY, f"'{path}' can't be read: {error.strerror}", "give the path of a YAML file") from error
    if Path.home().resolve() not in real.parents:
        raise fail(KEY, f"'{path}' is not below your home, {Path.home()}", "its lines are run: keep it there")
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise fail(KEY, f"'{path}' can be changed by others", f"its lines are run: chmod go-w {path}")
    problems: list[Problem] = []
    try:
        check_yaml(real)
        raw = yaml.safe_load(real.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise fail(KEY, f"'{path}' is not a YAML file: {' '.join(str(error).split())}") from error
    content = parse(ClusterFile, raw or {}, KEY, problems)
    problems += [
        Problem(f"{KEY}.setup[{index}]", "must be one line")
        for index, line in enumerate(content.setup if content else [])
        if re.search(r"[\n\r]", line)
    ]
    problems += secret_lines(content.setup if content else [], f"{KEY}.setup")
    check(problems)
    assert content is not None
    return content

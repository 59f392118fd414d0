"""How this process was started, so that a command that a message names can be pasted where the user is.

Someone who starts bayesrun by `uv run python -m bayesrun` may have neither `bayesrun` nor its Python on the path:
`python -m bayesrun` would then start another Python, or none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

_NAME = "bayesrun"


def command(*words: str) -> str:
    """Return a command line of bayesrun as the user would start it.

    Parameters
    ----------
    words
        What follows the program; they are quoted for a shell where that is needed.

    Returns
    -------
    str
        `uv run python -m bayesrun WORDS` in a process that `uv run` started; `bayesrun WORDS` where the script was
        started; otherwise the Python that runs, as the user can call it, with `-m bayesrun`.
    """
    script = Path(sys.argv[0])
    if script.name != _NAME:
        return _module(_NAME, words)
    return _line(_NAME if _uv() or _is_first(_NAME, script) else str(script), *words)


def script_beside(name: str, *words: str) -> str:
    """Return a command line of a script that is installed beside bayesrun, such as `mlflow`."""
    if _uv() or _is_first(name, Path(sys.executable).with_name(name)):
        return _line(name, *words)
    return _module(name, words)


def _module(name: str, words: tuple[str, ...]) -> str:
    return _line(_python(), "-m", name, *words)


def _line(*words: str) -> str:
    return " ".join([*_uv(), shlex.join(words)])


def _uv() -> list[str]:
    """Return the words before a program that `uv run` has started: that which it set for this very environment."""
    inside = "UV_RUN_RECURSION_DEPTH" in os.environ and os.environ.get("VIRTUAL_ENV") == sys.prefix
    return ["uv", "run"] if inside else []


def _python() -> str:
    """Return the name of the Python that runs, or its path where the name would start another one."""
    if _uv():
        return "python"
    found = (name for name in ("python", "python3") if _is_first(name, Path(sys.executable).with_name(name)))
    return next(found, sys.executable)


def _is_first(name: str, path: Path) -> bool:
    """Return whether `name` alone starts the program `path`."""
    found = shutil.which(name)
    return found is not None and Path(found).absolute() == path.absolute()

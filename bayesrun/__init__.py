"""bayesrun: a configuration-driven runner of Bayesian models.

    import bayesrun

    run = bayesrun.fit("y ~ x + (1 | g)", frame, family="poisson")
    run.verdict, run.summary, run.idata, run.folder
    run.predict(new_frame)

The functions are imported when they are first used: `import bayesrun` itself imports nothing large.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from bayesrun.version import __version__

if TYPE_CHECKING:
    from bayesrun import errors
    from bayesrun.api.calls import fit, load, run, sweep
    from bayesrun.api.questions import compare
    from bayesrun.api.results import Run, Sweep


def _leave_the_current_folder() -> None:
    """Take the current folder off the search path of `python -m bayesrun`, unless bayesrun itself lies there.

    Python puts it first: a folder of configs that others share may hold a `yaml.py`, which would be run. While the
    package of `-m` is imported, `sys.argv[0]` is "-m".
    """
    package_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()] and sys.path[0] != package_root:
        del sys.path[0]


_leave_the_current_folder()

__all__ = ["Run", "Sweep", "__version__", "compare", "errors", "fit", "load", "run", "sweep"]

_PLACES = {
    **dict.fromkeys(("fit", "load", "run", "sweep"), "bayesrun.api.calls"),
    **dict.fromkeys(("Run", "Sweep"), "bayesrun.api.results"),
    "compare": "bayesrun.api.questions",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("bayesrun.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'bayesrun' has no attribute '{name}'")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Find out once per machine and compiler what the compiler may use of this processor.

Theano asks the compiler in every process which flags this processor takes, and compiles a program to try them: 0.16 s
before the first function of a run. The answer is kept beside the compile cache, which several kinds of machine may
share.

Versions: Theano-PyMC 1.1.2, on Linux.
Buys: 0.1 s per command.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import theano
from theano.link.c.cmodule import GCC_compiler, gcc_version_str

from bayesrun.engines.pymc3.patches.base import Patch, Undo
from bayesrun.run_folder import RunFolder


def _apply() -> Undo:
    original = GCC_compiler.march_flags
    _remember_flags(Path(theano.config.compiledir))

    def undo() -> None:
        GCC_compiler.march_flags = original

    return undo


def _remember_flags(folder: Path) -> None:
    """Let Theano use the flags that were found before, or find them now and keep them in its compile directory."""
    known = _described()
    if known is None or not theano.config.cxx:
        return
    path = folder / f"processor_{known}.json"
    with suppress(OSError, ValueError):
        GCC_compiler.march_flags = json.loads(path.read_text())
        return
    GCC_compiler.compile_args()
    with suppress(OSError):  # a cache that only its owner may write to
        RunFolder(folder).write_json(path.name, GCC_compiler.march_flags)


def _described() -> str | None:
    """Digest of all that the answer depends on; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return None
    # the rest, a clock rate for one, changes from moment to moment
    processor = [line for line in lines if line.split("\t")[0] in ("vendor_id", "model", "model name", "flags")]
    if not processor:
        return None
    parts = [*processor, theano.config.cxx, gcc_version_str, theano.config.gcc__cxxflags, theano.__version__]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


PATCH = Patch(_apply, "process")

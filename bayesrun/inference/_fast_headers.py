"""The headers that all of Theano's C code begins with, compiled once: reading them is half of the compiler's time.

GCC takes a precompiled header where it was made by the same compiler with the same arguments, and reads the header
itself where not, so that one that does not fit costs nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bayesrun.run_folder import RunFolder

_HEADERS = ("Python.h", "iostream", "theano_mod_helper.h", "math.h", "numpy/arrayobject.h", "numpy/arrayscalars.h")
_NAME = "headers.h"
_MAKE = 'temporary=$1; made=$2; shift 2; "$@" -o "$temporary" && mv "$temporary" "$made"'

_begun: dict[Path, Any] = {}
"""Processes of this one that compile headers."""


def include_headers(folder: Path) -> None:
    """Have all modules include one header first, and no symbols for a debugger, which are a seventh of the time.

    Parameters
    ----------
    folder
        Where the header is kept.
    """
    import theano

    flags = [theano.config.gcc__cxxflags, "-g0"]
    if "g++" in Path(theano.config.cxx).name and " " not in str(folder):
        text = "".join(f"#include <{name}>\n" for name in _HEADERS)
        with suppress(OSError):  # a cache that only its owner may write to
            if not (folder / _NAME).exists():
                RunFolder(folder).write_text(_NAME, text)
        if (folder / _NAME).exists():
            flags.append(f"-include {folder / _NAME}")
    theano.config.gcc__cxxflags = " ".join(flags)


def precompile(folder: Path, arguments: Sequence[str]) -> None:
    """Begin to compile the header, unless that was done; modules are compiled in the meantime.

    Parameters
    ----------
    folder
        Where the header is kept.
    arguments
        Those that modules are compiled with.
    """
    import theano
    from theano.link.c.cmodule import std_include_dirs

    header, made = folder / _NAME, folder / f"{_NAME}.gch"
    own = ["-include", str(header)]
    if made in _begun or made.exists() or own[1] not in arguments:
        return
    plain = [a for a in arguments if a not in own]
    include = [f"-I{d}" for d in std_include_dirs()]
    command = [theano.config.cxx, "-g", *plain, *include, "-fvisibility=hidden", "-x", "c++-header", str(header)]
    places = [f"{made}.{os.getpid()}", str(made)]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    _begun[made] = subprocess.Popen(["/bin/sh", "-c", _MAKE, "sh", *places, *command], **quiet)  # type: ignore[call-overload]

"""The compiler's flags for this processor are found once, and are Theano's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_OWN = "import theano; from theano.link.c.cmodule import GCC_compiler as g; g.compile_args(); print(g.march_flags)"
_OURS = (
    "from bayesrun.engines.pymc3.theano_setup import import_pymc3; import_pymc3(); "
    "from theano.link.c.cmodule import GCC_compiler as g; print(g.march_flags)"
)


def _flags(program: str, folder: Path) -> str:
    flags = {**os.environ, "THEANO_FLAGS": f"blas__ldflags=,base_compiledir={folder}"}
    done = subprocess.run([sys.executable, "-c", program], env=flags, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_the_flags_are_theanos_and_are_asked_for_once(tmp_path: Path) -> None:
    first = _flags(_OURS, tmp_path)
    assert first == _flags(_OWN, tmp_path)
    (kept,) = tmp_path.glob("*/processor_*.json")
    assert str(json.loads(kept.read_text())) == first
    kept.write_text('["-march=x86-64"]')
    assert _flags(_OURS, tmp_path) == "['-march=x86-64']"
    kept.write_text("{broken")
    assert _flags(_OURS, tmp_path) == first

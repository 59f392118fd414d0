"""Headers that are compiled once, in a process with a compile cache of its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

COMPILE = """
import sys
from bayesrun.engines.pymc3.theano_setup import import_pymc3
import_pymc3()
import numpy as np, theano, theano.tensor as tt
theano.config.cxx = sys.argv[2] or theano.config.cxx
x = tt.dvector("x")
print(theano.function([x], getattr(tt, sys.argv[1])(x))(np.zeros(2)))
"""

LEVELS = """
import sys, time
from pathlib import Path
from bayesrun.engines.pymc3.theano_setup import import_pymc3
import_pymc3()
import numpy as np, theano, theano.tensor as tt
from bayesrun.engines.pymc3.compiled_functions import compile_function
x = tt.dvector("x")
deadline = time.monotonic() + 240
for size in sys.argv[2:]:
    point = np.zeros(int(size))
    made = compile_function([x], [tt.sum(tt.exp(x) * (1.0 + np.arange(int(size))))], [[point]])
    print(made(point)[0] == np.arange(int(size)).sum() + int(size))
    count = 1 + sys.argv[2:].index(size)
    while len(list(Path(sys.argv[1]).glob("*/modules_*/*.gch"))) < count and time.monotonic() < deadline:
        time.sleep(0.1)
"""


def compiled(operation: str, folder: Path, compiler: str = "") -> str:
    """Compile one operation in a new process; return what it makes of two zeros."""
    env = {**os.environ, "THEANO_FLAGS": f"base_compiledir={folder}"}
    command = [sys.executable, "-c", COMPILE, operation, compiler]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_the_compiler_takes_the_header_that_was_compiled_before(tmp_path):
    assert compiled("exp", tmp_path) == "[1. 1.]"
    deadline = time.monotonic() + 240
    while not (found := list(tmp_path.glob("*/modules_*/headers.h.gch"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    told = tmp_path / "told"
    talkative = tmp_path / "talkative"
    talkative.write_text(f'#!/bin/sh\nexec g++ "$@" -H 2>> {told}\n')
    talkative.chmod(0o755)
    assert compiled("cos", tmp_path, str(talkative)) == "[1. 1.]"
    assert f"! {found[0]}" in told.read_text()  # `!`: valid and used, `x`: not


def test_functions_of_few_and_of_many_numbers_have_headers_of_their_own(tmp_path):
    """GCC 12 at -O3 crashes on a header that was compiled at -O1."""
    for sizes in (("10", "150000"), ("150000", "10")):
        folder = tmp_path / sizes[0]
        env = {**os.environ, "THEANO_FLAGS": f"base_compiledir={folder}"}
        for _ in range(2):  # beside the headers, and with them
            command = [sys.executable, "-c", LEVELS, str(folder), *sizes]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.stdout.split() == ["True", "True"], done.stderr[-2000:]
            for module in filter(Path.is_dir, folder.glob("*/modules_*/*")):
                shutil.rmtree(module)
        assert len(list(folder.glob("*/modules_*/*.gch"))) == 2


def test_a_folder_with_a_space_goes_without(tmp_path):
    assert compiled("exp", tmp_path / "a b") == "[1. 1.]"
    assert not list(tmp_path.glob("**/headers.h*"))

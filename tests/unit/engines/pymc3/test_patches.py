"""Patches: each is documented, can be undone, and changes no log density and no draw."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayesrun.engines.pymc3.patches import base
from tests.composing import parsed
from tests.conftest import ROOT, Command

FOLDER = Path(base.__file__).parent

RUN = """
import sys
import numpy as np
from tests.composing import filled
from bayesrun.pipeline import prepare
from bayesrun.samplers.base import NutsSpec
from bayesrun.samplers.nutpie import sample
from bayesrun.engines.pymc3.patches.base import is_chosen

class Nobody:
    def begin(self): pass
    def draw(self, *told): pass

patches, path = sys.argv[1:]
model = prepare(filled({
    "engine": {"patches": patches},
    "tracking": {"backend": "none"},
    "paths": {"root": ".", "data": ".", "outputs": "."},
    "data": {"name": "d", "source": "inline", "values": {"x": [1.0, 2.5, -0.5, 3.0]}},
    "model": {
        "name": "m", "type": "declarative",
        "priors": {"mu": {"dist": "Normal", "mu": 0, "sigma": 2}, "scale": {"dist": "Exponential", "lam": 1}},
        "likelihood": {"y": {"dist": "Normal", "mu": "mu", "sigma": "scale", "observed": "x"}},
    },
})).model
assert is_chosen("one_module") is (patches == "all")
density = model.log_density()
points = density.initial_point + np.random.default_rng(1).normal(size=(50, density.size))
values = [density.evaluate(point)[0] for point in points]
gradients = [density.evaluate(point)[1].copy() for point in points]
sampled = sample(model, NutsSpec(draws=50, tune=50, chains=1, cores=1), 3, Nobody())
prior = model.draw_prior(50, 4)
predicted, failed = model.predict(["y"], sampled.draws, 5)
assert not failed
terms = model.log_likelihood(["y"], sampled.draws)
np.savez(path, logp=values, gradient=gradients, predicted=predicted["y"], terms=terms["y"],
         **{f"draws_{n}": v for n, v in sampled.draws.items()}, **{f"prior_{n}": v for n, v in prior.items()})
"""

STATE = """
import json
from bayesrun.engines.pymc3 import ENGINE

def state():
    import theano, theano.tensor as tt
    from theano.graph import op, toolbox
    from theano.link.c import cmodule
    from theano.tensor import basic
    places = {
        "folding": getattr(op.Op, "python_constant_folding", None),
        "inspect": toolbox.inspect, "cache": type(cmodule._module_cache), "flags": theano.config.gcc__cxxflags,
        "compile": cmodule.GCC_compiler.compile_str, "function": theano.function, "test": op.compute_test_value,
        "softplus": vars(tt.nnet.softplus).get("ufunc"), "alloc": basic.Alloc.c_code,
        "march": cmodule.GCC_compiler.march_flags,
    }
    return {name: str(value) for name, value in places.items()}

ENGINE.set_up("none")
plain = state()
ENGINE.set_up("all")
patched = state()
ENGINE.set_up("none")
print(json.dumps([plain, patched, state()]))
"""


def test_every_patch_is_a_file_that_says_what_it_changes_and_for_which_versions() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "base"}
    assert files == set(base.NAMES)
    assert len(base.NAMES) == len(files)
    for name in files:
        text = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""
        assert "Versions:" in text, name
        assert "Buys:" in text, name


def test_what_is_switched_off_is_taken_back() -> None:
    done = subprocess.run([sys.executable, "-c", STATE], cwd=ROOT, capture_output=True, text=True, check=True)
    plain, patched, again = json.loads(done.stdout.splitlines()[-1])
    assert plain == again
    different = {name for name in plain if plain[name] != patched[name]}
    assert {"folding", "inspect", "cache", "flags", "compile", "softplus"} <= different
    assert not different & {"function", "test", "alloc"}  # changed only while something is built or compiled


def test_a_patch_that_is_not_chosen_is_not_applied() -> None:
    before = base.is_chosen("small_test_values")
    base.choose([name for name in base.NAMES if name != "small_test_values"])
    try:
        from theano.graph import op

        own = op.compute_test_value
        with base.applied("small_test_values"):
            assert op.compute_test_value is own
    finally:
        base.choose(base.NAMES)
    assert before


def test_the_config_names_patches(bayesrun: Command) -> None:
    assert parsed("model=eight_schools").engine.patches == "all"
    assert parsed("model=eight_schools", "engine.patches=none").engine.patches == "none"
    assert parsed("model=eight_schools", "engine.patches=[one_module]").engine.patches == ["one_module"]
    done = bayesrun("model=eight_schools", "engine.patches=[one_modul,caller_names]")
    assert done.returncode == 1
    assert "engine.patches[0]: unknown patch 'one_modul'" in done.stderr
    assert "did you mean 'one_module'" in done.stderr
    done = bayesrun("model=eight_schools", "engine.name=pymc4")
    assert done.returncode == 1
    assert "engine.name: unknown engine 'pymc4'" in done.stderr


@pytest.mark.slow
def test_log_densities_and_draws_are_the_same_without_any_patch(tmp_path: Path) -> None:
    """Draws and log densities bit for bit; what draws from the prior is evaluated in Python and C: to 1e-12."""
    pytest.importorskip("nutpie")
    for patches in ("all", "none"):
        command = [sys.executable, "-c", RUN, patches, str(tmp_path / f"{patches}.npz")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "all.npz") as patched, np.load(tmp_path / "none.npz") as plain:
        assert set(patched) == set(plain)
        for name in patched:
            if name.startswith("prior"):
                np.testing.assert_allclose(patched[name], plain[name], rtol=1e-12, err_msg=name)
            else:
                np.testing.assert_array_equal(patched[name], plain[name], err_msg=name)

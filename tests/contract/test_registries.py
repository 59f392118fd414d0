"""Contracts over every registry: each file of its folder loads, defines its entry, and has a docstring."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

from bayesrun.config.run_config import REGISTRIES
from bayesrun.diagnostics.base import CHECKS, Check
from bayesrun.figures.base import Figure
from bayesrun.models.base import MODELS, ModelSpec
from bayesrun.registry import Registry, TableRegistry
from bayesrun.samplers.base import SAMPLERS, SamplerSpec
from bayesrun.schema import Section

EVERY = [(registry, name) for registry in REGISTRIES for name in registry.names()]
MODULES = [(registry, name) for registry, name in EVERY if not isinstance(registry, TableRegistry)]
HEAVY = ("pandas", "xarray", "theano", "pymc3", "arviz", "matplotlib", "mlflow", "scipy", "nutpie", "netCDF4")


def _ids(value: Any) -> str:
    return value.folder.removeprefix("bayesrun.") if isinstance(value, Registry) else str(value)


def test_registries_have_the_names_of_the_design() -> None:
    names = {registry.folder: set(registry.names()) for registry in REGISTRIES}
    assert {"nuts", "smc", "advi", "prior"} <= names["bayesrun.samplers"]
    assert {
        "linear_regression", "stochastic_volatility", "switchpoint", "arbitrary_deterministic", "glm", "declarative",
        "regression",
    } <= names["bayesrun.models"]  # fmt: skip
    assert "modulo3" in names["bayesrun.models.functions"]
    assert names["bayesrun.tracking"] == {"mlflow", "none"}
    assert {"divergences", "bfmi", "r_hat", "ess", "tree_depth", "loo", "constant"} <= names["bayesrun.diagnostics"]


@pytest.mark.parametrize(("registry", "name"), EVERY, ids=_ids)
def test_every_name_is_of_a_thing(registry: Registry[Any], name: str) -> None:
    assert isinstance(registry.load(name, "key"), registry.thing)


def test_the_command_line_imports_nothing_that_takes_seconds() -> None:
    """Nor SciPy's optimizers: imported before PyMC3, they make NumPy's distutils print on the console."""
    names = [*(name for name in HEAVY if name != "scipy"), "scipy.optimize", "scipy.stats"]
    code = f"import sys, bayesrun.cli.main; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("registry", "name"), MODULES, ids=_ids)
def test_every_module_holds_its_thing_and_says_what_it_is(registry: Registry[Any], name: str) -> None:
    module = importlib.import_module(registry.module_of(name))
    assert (module.__doc__ or "").strip()
    public = [f for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_")]
    for function in public:
        if function.__module__ == module.__name__:
            assert function.__doc__, f"{name}.{function.__name__}"


@pytest.mark.parametrize("registry", REGISTRIES, ids=_ids)
def test_a_shared_module_holds_the_names_that_its_registry_lists(registry: Registry[Any]) -> None:
    for module, names in registry.shared.items():
        held = getattr(importlib.import_module(f"{registry.folder}.{module}"), f"{registry.attribute}S")
        assert sorted(held) == sorted(names)


# checks and figures are looked up by name only until there is a posterior
@pytest.mark.parametrize("registry", [r for r in REGISTRIES if r.thing not in (Check, Figure)], ids=_ids)
def test_registering_needs_no_other_package(registry: Registry[Any]) -> None:
    """Names, options and specs are known before anything that takes seconds is imported."""
    code = f"""
import sys, importlib
from bayesrun.config.run_config import REGISTRIES
(registry,) = [r for r in REGISTRIES if r.folder == {registry.folder!r}]
for name in registry.names():
    registry.load(name, "key")
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("registry", "name"), MODULES, ids=_ids)
def test_every_section_is_frozen_and_documented(registry: Registry[Any], name: str) -> None:
    thing = registry.load(name, "key")
    for section in (getattr(thing, "spec", None), getattr(thing, "parameters", None)):
        if section is not None:
            assert issubclass(section, Section)
            assert section.__doc__
            assert section.model_config["frozen"]
            assert section.model_config["extra"] == "forbid"


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_sampler_takes_the_keys_that_all_take_and_names_itself(name: str) -> None:
    spec = SAMPLERS.load(name, "key").spec
    assert issubclass(spec, SamplerSpec)
    assert spec().method == name
    assert spec(draws=20, chains=2, tune=3).steps() > 0


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_type_extends_the_common_section(name: str) -> None:
    kind = MODELS.load(name, "key")
    assert issubclass(kind.spec, ModelSpec)
    assert isinstance(kind.spec.model_fields["options"].default, Section)
    assert not set(kind.priors.required) & set(kind.priors.optional)


@pytest.mark.parametrize("name", CHECKS.names())
def test_a_check_applies_to_known_methods(name: str) -> None:
    methods = CHECKS.load(name, "key").methods
    assert methods
    assert set(methods) <= set(SAMPLERS.names())

"""The engine's step methods in bayesrun's processes: PyMC3's own draws, and chains that go on from a stored state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pymc3 as pm
import pytest

from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.errors import SamplingError
from bayesrun.samplers.base import NutsSpec, Sampled
from bayesrun.samplers.chains import chain_seeds
from bayesrun.samplers.draw_store import DrawStore
from bayesrun.samplers.earlier import EarlierDraws
from bayesrun.samplers.nuts import sample_with_steps
from tests.unit.samplers.conftest import Listener

SPEC = NutsSpec(draws=40, tune=40, chains=2, cores=2, init="jitter+adapt_diag")


@pytest.fixture(scope="module")
def mixed() -> PyMC3Model:
    """A continuous and a counted variable."""
    with building(), pm.Model() as model:
        rate = pm.Gamma("rate", 2.0, 1.0)
        pm.Poisson("n", rate)
    return PyMC3Model(model)


def sampled_with(model: PyMC3Model, **settings: object) -> Sampled:
    return sample_with_steps(model, SPEC.model_copy(update=settings), 3, Listener())


def same(ours: Sampled, theirs: Sampled) -> bool:
    pairs = ((ours.draws, theirs.draws), (ours.stats, theirs.stats))
    return all(a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a) for a, b in pairs)


def test_the_draws_are_those_of_pymc3(line: pm.Model, compiled_line: PyMC3Model) -> None:
    seeds = chain_seeds(3, 2)
    with line, compiling():
        start, step = pm.init_nuts(SPEC.init, chains=2, random_seed=seeds[0], progressbar=False, target_accept=0.8)
        trace = pm.sample(
            40, tune=40, chains=2, cores=2, step=step, start=start, random_seed=seeds, mp_ctx="fork",
            progressbar=False, compute_convergence_checks=False, return_inferencedata=False,
        )  # fmt: skip
    ours = sampled_with(compiled_line)
    for name, draws in ours.draws.items():
        assert np.array_equal(draws, np.stack(trace.get_values(name, combine=False)))
    assert np.array_equal(ours.stats["energy"], np.stack(trace.get_sampler_stats("energy", combine=False)))


def test_a_compound_step_does_not_depend_on_the_number_of_cores(mixed: PyMC3Model) -> None:
    alone, beside = (sampled_with(mixed, cores=cores, chains=3) for cores in (1, 3))
    assert same(alone, beside)
    assert alone.draws["n"].dtype == "int64"


@pytest.mark.parametrize("init", ["jitter+adapt_diag", "adapt_full", "map"])
def test_a_chain_goes_on_as_if_it_had_not_stopped(compiled_line: PyMC3Model, tmp_path: Path, init: str) -> None:
    store, spec = DrawStore(tmp_path), SPEC.model_copy(update={"init": init})
    short = sample_with_steps(compiled_line, spec, 3, Listener(), store)
    earlier = EarlierDraws.of_sampled(short, store)
    assert earlier.origin(0)[0] == 39  # the last draw is made again, to compare it
    longer = spec.model_copy(update={"draws": 90})
    extended = sample_with_steps(compiled_line, longer, 3, Listener(), store, earlier)
    assert same(extended, sample_with_steps(compiled_line, longer, 3, Listener()))
    earlier.compare(extended)


def test_a_chain_that_was_lost_is_made_again_beside_those_that_go_on(compiled_line: PyMC3Model, tmp_path: Path) -> None:
    store = DrawStore(tmp_path)
    short = sample_with_steps(compiled_line, SPEC, 3, Listener(), store)
    one = replace(short, kept=[1], draws={n: v[1:] for n, v in short.draws.items()}, stats=_of_chain(short, 1))
    for path in store.states(1).glob("0-*"):
        path.unlink()
    earlier = EarlierDraws.of_sampled(one, store)
    extended = sample_with_steps(compiled_line, SPEC.model_copy(update={"draws": 60}), 3, Listener(), store, earlier)
    assert same(extended, sampled_with(compiled_line, draws=60))


def test_a_torn_state_is_passed_over_and_other_draws_are_found(compiled_line: PyMC3Model, tmp_path: Path) -> None:
    store = DrawStore(tmp_path)
    short = sample_with_steps(compiled_line, SPEC, 3, Listener(), store)
    last = store.states(1) / "0-39.npz"
    last.write_bytes(last.read_bytes()[:500])
    earlier = EarlierDraws.of_sampled(short, store)
    assert earlier.origin(0)[0] < 39
    other = sample_with_steps(compiled_line, SPEC, 4, Listener())
    with pytest.raises(SamplingError, match="draw 0 of 'a' in chain 0 differs from that of the earlier run"):
        earlier.compare(other)


def _of_chain(sampled: Sampled, chain: int) -> dict[str, np.ndarray]:
    return {name: values[chain : chain + 1] for name, values in sampled.stats.items()}

"""Chains that diverge a little take smaller steps; what they had drawn by then becomes warm-up, without bias."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
from scipy.stats import norm

from bayesrun.engines.base import StepSettings
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.samplers import nuts, smaller_steps
from bayesrun.samplers.base import NutsSpec, Sampled
from bayesrun.samplers.chains import SharedDraws
from bayesrun.samplers.draw_store import NOWHERE, DrawStore, read_draws
from bayesrun.samplers.earlier import EarlierDraws, recovered
from bayesrun.samplers.nutpie import _Path
from bayesrun.samplers.smaller_steps import FACTOR, StepChange, StepControl, decisions, few, may_shrink
from tests.unit.samplers.conftest import Listener


@pytest.fixture(scope="module")
def funnel() -> PyMC3Model:
    """Neal's funnel, mild enough for few divergences: whatever `x` does, `v` is standard normal."""
    with building(), pm.Model() as model:
        v = pm.Normal("v", 0.0, 1.0)
        pm.Normal("x", 0.0, pm.math.exp(v / 2), shape=2)
    return PyMC3Model(model)


def sample(
    model: PyMC3Model, seed: int, store: DrawStore = NOWHERE, listener: Listener | None = None, **settings: Any
) -> Sampled:
    spec = NutsSpec.model_validate({"draws": 400, "tune": 300, "chains": 2, **settings})
    return nuts.sample(model, spec, seed, listener or Listener(), store)


SEEDS = {"nutpie": 3, "pymc3": 8}
"""Of a run in which a chain changes among its kept draws."""


@dataclass(frozen=True)
class Changed:
    """A run in which a chain changes among its kept draws, its store, and what it draws if none changes."""

    engine: str
    seed: int
    run: Sampled
    store: DrawStore
    folder: Path
    plain: Sampled
    chain: int


@pytest.fixture(scope="module", params=["nutpie", "pymc3"])
def changed(funnel: PyMC3Model, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    engine, folder = str(request.param), tmp_path_factory.mktemp("draws")
    seed, store = SEEDS[engine], DrawStore(folder)
    run = sample(funnel, seed, store, engine=engine)
    chain = next(chain for chain, own in run.changes.items() if own[0].draws)
    return Changed(engine, seed, run, store, folder, without_changes(funnel, seed, engine), chain)


def without_changes(model: PyMC3Model, seed: int, engine: str) -> Sampled:
    """Sample as if no chain ever saw a few divergences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smaller_steps, "few", lambda diverged, observed: False)
        return sample(model, seed, engine=engine)


def same(ours: Sampled, theirs: Sampled, draws: int) -> bool:
    pairs = ((ours.draws, theirs.draws), (ours.stats, theirs.stats))
    return all(np.array_equal(a[n][:, :draws], b[n][:, :draws]) for a, b in pairs for n in a)


def is_of_the_funnel(run: Sampled) -> bool:
    """Whether the densities that the sampler saw are those of the draws."""
    v, x = run.draws["v"], run.draws["x"]
    expected = -0.5 * v**2 - 0.5 * (x**2).sum(-1) * np.exp(-v) - v - 1.5 * np.log(2 * np.pi)
    return np.allclose(run.stats["lp"], expected, rtol=1e-9)


def test_a_chain_decides_at_fixed_numbers_of_draws_and_at_its_end() -> None:
    long = sorted(decisions(100_000))
    assert long[:3] == [0, 50, 100] and long[-1] == 100_000 and len(long) < 120
    assert all(later - earlier >= 50 for earlier, later in pairwise(long[:-1]))
    assert sorted(decisions(70)) == [0, 50, 70]


@pytest.mark.parametrize(
    ("diverged", "observed", "expected"),
    [(0, 500, False), (1, 500, True), (6, 500, True), (7, 500, False), (1, 0, True), (41, 4000, True)],
)
def test_few_divergences_are_neither_none_nor_many(diverged: int, observed: int, expected: bool) -> None:
    assert few(diverged, observed) is expected


def test_what_the_user_chose_stays() -> None:
    assert may_shrink(NutsSpec())
    assert not may_shrink(NutsSpec(target_accept=0.9)) and not may_shrink(NutsSpec(init="adapt_diag"))


def test_many_divergences_do_not_become_few_by_waiting() -> None:
    control = StepControl.of(NutsSpec(draws=300), 0, None)
    control.see(3, 150)
    assert not control.changes_now(0)
    control.see(0, 50)
    assert not control.changes_now(50)
    control.see(1, 200)
    assert control.changes_now(250)


def test_a_chain_changes_at_most_once() -> None:
    control = StepControl.of(NutsSpec(draws=300), 0, None)
    for kept, diverged in ((0, 0), (50, 1)):
        assert control.decides(kept)
        control.see(diverged, 50)
        assert control.changes_now(kept) is (diverged > 0)
    assert control.changes == [(50, 1)]
    control.see(1, 50)
    assert not any(control.decides(kept) for kept in range(301))


def test_changes_of_an_earlier_run_are_made_again_and_no_others() -> None:
    control = StepControl.of(NutsSpec(draws=300), 1, {1: [StepChange(70, 2)]})
    assert [kept for kept in range(301) if control.decides(kept)] == [70]
    assert control.changes_now(70) and not control.decides(70)
    other = StepControl.of(NutsSpec(draws=300), 0, {1: [StepChange(70, 2)]})
    assert not any(other.decides(kept) for kept in range(301))


def test_an_affected_chain_begins_again_and_the_others_keep_their_draws(changed: Changed) -> None:
    run, plain = changed.run, changed.plain
    assert run.draws["v"].shape == run.stats["lp"].shape == (2, 400) and is_of_the_funnel(run)
    assert not plain.changes and plain.stats["diverging"].any() and not run.stats["diverging"].any()
    for chain in range(2):
        size = plain.stats["step_size"][chain, -1] * FACTOR ** len(run.changes.get(chain, ()))
        assert run.stats["step_size"][chain] == pytest.approx(size)
        if chain not in run.changes:
            assert np.array_equal(run.draws["v"][chain], plain.draws["v"][chain])


def test_pymc3s_chain_halves_the_steps_that_it_has_found(funnel: PyMC3Model) -> None:
    chain = funnel.step_sampler(StepSettings(30, 1, {}, "adapt_diag", 0.8, 10), 1).chain(0, 1)
    steps = [chain.advance()[1]["step_size"] for _ in range(33)]
    chain.shrink_steps(FACTOR)
    steps += [chain.advance()[1]["step_size"] for _ in range(3)]
    assert len(set(steps[30:33])) == 1
    assert steps[33:] == pytest.approx([FACTOR * steps[32]] * 3)


def test_an_extended_run_begins_with_these_draws(funnel: PyMC3Model, changed: Changed) -> None:
    short, engine = changed.run, changed.engine
    earlier = EarlierDraws.of_sampled(short, changed.store)
    assert earlier.changes == short.changes
    assert earlier.origin(0)[0] == (399 if engine == "pymc3" else 0)
    spec = NutsSpec(draws=500, tune=300, chains=2, cores=1, engine=engine)  # type: ignore[arg-type]
    longer = nuts.extend(funnel, spec, changed.seed, Listener(), NOWHERE, earlier)  # compares them, too
    assert longer.size == (2, 500) and longer.changes == short.changes
    assert same(short, longer, 400) and is_of_the_funnel(longer)


def test_what_is_on_disk_is_what_was_drawn(funnel: PyMC3Model, changed: Changed) -> None:
    stored = read_draws(changed.folder)
    assert stored is not None and stored.changes == changed.run.changes
    back = recovered(stored, funnel.constrain)
    assert back.changes == changed.run.changes and same(changed.run, back, 400)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_run_that_ends_soon_after_a_change_has_the_draws_of_before(
    funnel: PyMC3Model, changed: Changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """Draws that became warm-up are lost only once there are as many new ones.

    Until its end has come through to it, which may be late, nutpie's thread makes draws that nobody counts.
    """
    change, go_on = SharedDraws.change, _Path.go_on

    def end_late(path: _Path, for_good: bool = False) -> None:
        go_on(path, for_good)
        while for_good and not path.is_last:
            time.sleep(0.01)

    def stop(shared: SharedDraws, chain: int, changes: Sequence[StepChange], done: int) -> None:
        change(shared, chain, changes, done)
        shared.stop[0] = changes[-1].draws > 0

    monkeypatch.setattr(SharedDraws, "change", stop)
    if is_late:
        monkeypatch.setattr(_Path, "go_on", end_late)
    run = sample(funnel, changed.seed, DrawStore(tmp_path), engine=changed.engine, cores=1)
    place, length = list(run.kept).index(changed.chain), run.size[1]
    assert changed.chain not in run.changes and length == changed.run.changes[changed.chain][0].draws
    assert np.array_equal(run.draws["v"][place], changed.plain.draws["v"][changed.chain, :length])
    assert is_of_the_funnel(run)


def test_the_funnel_is_right(funnel: PyMC3Model) -> None:
    """Over seeds 0 to 149, half of the chains change at the end of warm-up and a fifth later."""
    runs = [sample(funnel, seed, engine="nutpie", draws=500, tune=500) for seed in range(30)]
    changed = [change.draws > 0 for run in runs for own in run.changes.values() for change in own]
    assert 0 < sum(changed) < len(changed)
    v = np.concatenate([run.draws["v"] for run in runs])
    low, high = norm.ppf(0.05), norm.ppf(0.95)
    for values in (v.mean(1), (v**2).mean(1) - 1.0, (v < low).mean(1) - 0.05, (v > high).mean(1) - 0.05):
        assert abs(values.mean()) < 3.5 * values.std(ddof=1) / np.sqrt(len(values))

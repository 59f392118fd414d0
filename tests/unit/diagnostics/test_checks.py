"""Each check at, above and below its thresholds, on posteriors of which it is known what is wrong with them."""

from __future__ import annotations

from dataclasses import replace

import arviz as az
import numpy as np
import pytest

from bayesrun.diagnostics.base import DiagnosticsSpec, Thresholds, grade_above, grade_below
from tests.unit.diagnostics.conftest import CHAINS, DRAWS, judged, normal, only, run

SHAPE = (CHAINS, DRAWS)


def with_stats(**stats: np.ndarray):  # type: ignore[no-untyped-def]
    return judged({"x": normal()}, sample_stats=stats)


def some(count: int) -> np.ndarray:
    flags = np.zeros(CHAINS * DRAWS, bool)
    flags[:count] = True
    return np.random.default_rng(1).permutation(flags).reshape(SHAPE)


@pytest.mark.parametrize(
    ("count", "severity", "threshold"),
    [(0, "ok", 0.0), (1, "warn", 0.0), (40, "warn", 0.0), (41, "fail", 0.01), (4000, "fail", 0.01)],
)
def test_divergences(count: int, severity: str, threshold: float) -> None:
    result = run("divergences", with_stats(diverging=some(count)))
    finding = only(result)
    assert (finding.severity, finding.value, finding.threshold) == (severity, count / 4000, threshold)
    assert result.metrics == {"divergences": count}
    assert bool(finding.remedy) == (severity != "ok")


@pytest.mark.parametrize(("share", "severity"), [(0, "ok"), (40, "ok"), (41, "warn"), (400, "warn"), (401, "fail")])
def test_tree_depth(share: int, severity: str) -> None:
    depth = np.where(some(share), 10, 3)
    result = run("tree_depth", with_stats(tree_depth=depth, acceptance_rate=np.full(SHAPE, 0.8)))
    assert only(result).severity == severity
    assert result.metrics == pytest.approx({"tree_depth_saturated": share / 4000, "accept_mean": 0.8})


def test_tree_depth_counts_against_the_runs_own_limit() -> None:
    subject = judged({"x": normal()}, depth=3, sample_stats={"tree_depth": np.full(SHAPE, 3)})
    assert only(run("tree_depth", subject)).severity == "fail"


def energy(bfmi: float) -> np.ndarray:
    """An autoregression: its BFMI is `2 (1 - rho)` in the long run."""
    rng, rho = np.random.default_rng(3), 1 - bfmi / 2
    values = np.zeros((CHAINS, 20_000))
    noise = rng.normal(size=values.shape) * np.sqrt(1 - rho**2)
    for t in range(1, values.shape[1]):
        values[:, t] = rho * values[:, t - 1] + noise[:, t]
    return values


@pytest.mark.parametrize(("bfmi", "severity"), [(1.0, "ok"), (0.36, "ok"), (0.25, "warn"), (0.1, "fail")])
def test_bfmi(bfmi: float, severity: str) -> None:
    subject = judged({"x": normal(draws=20_000)}, sample_stats={"energy": energy(bfmi)})
    result = run("bfmi", subject)
    assert only(result).severity == severity
    assert result.metrics["bfmi_min"] == pytest.approx(bfmi, rel=0.15)


@pytest.mark.parametrize(("shift", "severity"), [(0.0, "ok"), (0.4, "warn"), (2.0, "fail")])
def test_r_hat_of_chains_that_disagree(shift: float, severity: str) -> None:
    x = normal()
    x[0] += shift
    result = run("r_hat", judged({"fine": normal(seed=2), "x": x}))
    finding = only(result)
    assert finding.severity == severity
    assert result.metrics["r_hat_max"] == pytest.approx(az.rhat(x), rel=1e-6) or severity == "ok"
    assert finding.variable == (None if severity == "ok" else "x")


def test_r_hat_names_the_worst_first_and_the_others() -> None:
    theta = normal(shape=(3,))
    theta[0, :, 1] += 1.0
    theta[0, :, 2] += 3.0
    subject = judged({"theta": theta}, coords={"school": ["A", "B", "C"]}, dims={"theta": ["school"]})
    finding = only(run("r_hat", subject))
    assert finding.variable == "theta[C]"
    assert "theta[B]" in finding.message
    assert "theta[A]" not in finding.message


def sticky(every: int) -> np.ndarray:
    """Draws that stay where they are `every` draws long: the ESS is about the number of draws over `every`."""
    return np.repeat(normal(draws=DRAWS // every), every, axis=1)


@pytest.mark.parametrize(("every", "severity"), [(1, "ok"), (20, "warn"), (200, "fail")])
def test_ess(every: int, severity: str) -> None:
    result = run("ess", judged({"fine": normal(seed=2), "x": sticky(every)}))
    assert {f.severity for f in result.findings if "bulk" in f.message} == {severity}
    assert result.metrics["ess_bulk_min"] < 1.6 * 4000 / every
    assert 0 < result.metrics["mcse_max_ratio"] < 1
    if severity != "ok":
        assert {f.variable for f in result.findings} == {"x"}


def test_constants_are_named_and_do_not_spoil_other_checks() -> None:
    subject = judged({"x": normal(), "fixed": np.full(SHAPE, 2.0)})
    finding = only(run("constant", subject))
    assert (finding.severity, finding.variable) == ("warn", "fixed")
    assert {f.severity for f in run("ess", subject).findings} == {"ok"}
    assert only(run("r_hat", subject)).severity == "ok"
    assert not run("constant", judged({"x": normal()})).findings


def test_the_diagonal_of_a_correlation_matrix_is_no_warning() -> None:
    r = np.tanh(normal())
    corr = np.moveaxis(np.array([[np.ones(SHAPE), r], [r, 1 + 1e-16 * np.sign(r)]]), (0, 1), (2, 3))
    corr[..., 1, 1][0, ::2] = np.nextafter(1.0, 2.0)  # a one that is computed is rounded
    assert only(run("constant", judged({"chol_corr": corr}))).severity == "ok"
    corr[..., 0, 1] = corr[..., 1, 0] = 0.3
    fixed, stuck = run("constant", judged({"x": normal(), "chol_corr": corr})).findings
    assert (fixed.severity, stuck.severity, stuck.variable) == ("ok", "warn", "chol_corr[0, 1]")


def test_what_is_constant_in_the_prior_too_is_fixed_by_the_model() -> None:
    subject = judged({"x": normal(), "from_data": np.full((*SHAPE, 2), 2.0), "stuck": np.full(SHAPE, 1.0)})
    prior = {"x": normal(), "from_data": np.full((1, 50, 2), 2.0), "stuck": normal(chains=1)}
    subject.idata.extend(az.from_dict(prior={name: values[:1, :50] for name, values in prior.items()}))
    fixed, stuck = run("constant", subject).findings
    assert (fixed.severity, fixed.message) == ("ok", "Fixed by the model: from_data[0], from_data[1].")
    assert (stuck.severity, stuck.variable) == ("warn", "stuck")


def test_when_everything_is_constant_there_is_nothing_to_judge() -> None:
    subject = judged({"fixed": np.full(SHAPE, 2.0)})
    assert not run("r_hat", subject).findings
    assert not run("ess", subject).findings


def test_one_chain_is_a_warning_and_has_no_r_hat() -> None:
    subject = judged({"x": normal(chains=1)})
    result = run("chains", subject)
    assert only(result).severity == "warn"
    assert result.metrics == {"n_draws": 1000}
    assert not run("r_hat", subject).findings
    for method in ("advi", "prior"):
        assert not run("chains", judged({"x": normal(chains=1)}, method)).findings


def test_absent_groups_are_named_and_make_nothing_worse() -> None:
    finding = only(run("groups", judged({"x": normal()}, missing={"prior": "'x' has a flat prior"})))
    assert finding.severity == "ok"
    assert finding.message == "No prior: 'x' has a flat prior."


@pytest.mark.parametrize("check", ["divergences", "tree_depth", "bfmi", "elbo", "approximation", "particles", "loo"])
def test_without_its_statistics_a_check_finds_nothing(check: str) -> None:
    assert not run(check, judged({"x": normal()})).findings


# variational inference and SMC


def elbo(rise: float, noise: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(5).normal(-100, noise, 4000)
    values[-1000:] += rise
    return values


@pytest.mark.parametrize(("rise", "severity"), [(0.0, "ok"), (0.5, "warn"), (-0.5, "warn"), (5.0, "fail")])
def test_elbo(rise: float, severity: str) -> None:
    subject = judged({"x": normal()}, "advi", sample_stats={"lp": normal()})
    subject.idata.sample_stats["elbo"] = ("iteration", elbo(rise))
    result = run("elbo", subject)
    assert only(result).severity == severity
    assert result.metrics["elbo"] == pytest.approx(-100 + rise, abs=0.2)


def test_elbo_that_is_not_a_number_or_too_short_fails() -> None:
    for values in (np.full(4000, np.nan), np.full(4000, -np.inf), np.zeros(3)):
        subject = judged({"x": normal()}, "advi", sample_stats={"lp": normal()})
        subject.idata.sample_stats["elbo"] = ("iteration", values)
        with np.errstate(all="ignore"):
            assert only(run("elbo", subject)).severity == "fail"


@pytest.mark.parametrize(("c", "severity"), [(0.0, "ok"), (-1.0, "ok"), (0.15, "ok"), (0.42, "warn"), (0.8, "fail")])
def test_approximation_with_ratios_of_known_tail(c: float, severity: str) -> None:
    """For z ~ N(0, 1) the ratios exp(c z^2) have a tail of Pareto k = 2 c."""
    z = normal()
    log_q = -0.5 * z**2
    subject = judged({"x": z}, "advi", sample_stats={"lp": log_q + c * z**2, "log_q": log_q})
    result = run("approximation", subject)
    assert only(result).severity == severity
    if c > 0:
        assert result.metrics["approximation_k"] == pytest.approx(2 * c, abs=0.3)


@pytest.mark.parametrize(("moved", "severity"), [(0.99, "ok"), (0.5, "ok"), (0.4, "warn"), (0.05, "fail")])
def test_particles(moved: float, severity: str) -> None:
    subject = judged({"x": normal()}, "smc", sample_stats={"lp": normal()})
    stats = subject.idata.sample_stats
    stats["moved"] = ("chain", np.array([1.0, moved, 1.0, 1.0]))
    stats["log_marginal_likelihood"] = ("chain", np.log([1.0, 2.0, 3.0, 4.0]))
    result = run("particles", subject)
    assert only(result).severity == severity
    assert result.metrics["log_marginal_likelihood"] == pytest.approx(np.log(2.5))


# thresholds


def test_thresholds_are_the_designs() -> None:
    limits = Thresholds()
    assert limits.r_hat == (1.01, 1.05)
    assert limits.ess == (400, 100)
    assert limits.divergences == (0, 0.01)
    assert limits.bfmi == (0.3, 0.2)
    assert limits.tree_depth == (0.01, 0.1)
    assert limits.pareto_k == (0, 0.05)


def test_thresholds_are_the_users_to_set() -> None:
    settings = DiagnosticsSpec(thresholds=Thresholds(r_hat=(1.5, 2.0)))
    x = normal()
    x[0] += 1.0
    assert only(run("r_hat", judged({"x": x}, settings=settings))).severity == "ok"


@pytest.mark.parametrize(("value", "severity"), [(0.9, "ok"), (1.0, "ok"), (1.1, "warn"), (2.0, "warn"), (2.1, "fail")])
def test_limits_belong_to_the_better_side(value: float, severity: str) -> None:
    assert grade_above(value, (1.0, 2.0)).severity == severity
    assert grade_below(-value, (-1.0, -2.0)).severity == severity


def test_what_is_not_a_number_fails() -> None:
    assert grade_above(float("nan"), (1, 2)) == grade_below(float("nan"), (1, 2)) == ("fail", 2)


# potentials


def _with_potentials(observed: bool, data: bool = True):  # type: ignore[no-untyped-def]
    more = {"observed_data": {"y": np.zeros(3)}} if observed else {}
    more |= {"constant_data": {"w": np.ones(3)}} if data else {}
    return replace(judged({"x": normal()}, **more), model={"potentials": {"censored": "log(x)"}})


def test_a_model_that_explains_its_data_by_potentials_alone_says_what_is_absent() -> None:
    finding = only(run("potentials", _with_potentials(observed=False)))
    assert (finding.severity, finding.variable) == ("warn", "censored")
    assert "no LOO, no WAIC and no posterior predictive" in finding.message


def test_potentials_beside_a_likelihood_are_a_note() -> None:
    finding = only(run("potentials", _with_potentials(observed=True)))
    assert (finding.severity, finding.remedy) == ("ok", "")
    assert not run("potentials", judged({"x": normal()})).findings
    assert not run("potentials", _with_potentials(observed=False, data=False)).findings


def test_a_heavy_tail_leaves_the_sd_unknown() -> None:
    rng = np.random.default_rng(5)
    tail = rng.random((CHAINS, DRAWS)) ** -0.5  # density 2 / x^3: no variance
    result = run("heavy_tails", judged({"x": normal(), "theta": np.stack([normal(seed=2), tail], axis=2)}))
    finding = only(result)
    assert (finding.severity, finding.variable, finding.threshold) == ("warn", "theta[1]", 0.08)
    assert finding.value is not None and finding.value > 0.08 and "theta[0]" not in finding.message
    assert "median" in finding.remedy and "sampler.draws=" in finding.remedy


def test_every_sample_of_a_tail_without_variance_is_found() -> None:
    rng = np.random.default_rng(6)
    found = [bool(run("heavy_tails", judged({"x": rng.random((4, 500)) ** -0.5})).findings) for _ in range(50)]
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("name", ["few draws", "discrete", "exponential", "t5", "rare", "constant"])
def test_what_is_not_a_heavy_tail(name: str) -> None:
    rng = np.random.default_rng(7)
    draws = {
        "few draws": rng.normal(size=(4, 20)),
        "discrete": rng.poisson(0.01, (CHAINS, DRAWS)),
        "exponential": rng.exponential(size=(CHAINS, DRAWS)),
        "t5": rng.standard_t(5, (CHAINS, DRAWS)),
        "rare": (rng.random((CHAINS, DRAWS)) < 0.001).astype(float),
        "constant": np.full((CHAINS, DRAWS), 2.0),
    }
    assert run("heavy_tails", judged({"x": draws[name]})).findings == ()

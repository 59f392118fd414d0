"""Power-scaling sensitivity against an exact posterior, and against the numbers that priorsense publishes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayesrun.diagnostics.advice import sweep_of_prior
from bayesrun.diagnostics.base import DiagnosticsSpec, Judged
from bayesrun.diagnostics.numerics import power_scaling as power
from bayesrun.diagnostics.prior_sensitivity import CHECK, log_likelihood

# priorsense's example `univariate_normal`: 25 observations, mu ~ N(0, 1), sigma ~ N+(0, 2.5)
Y = np.concatenate(
    [
        [9.5, 10.2, 9.1, 9.1, 10.3, 10.9, 11.7, 10.3, 9.6, 8.6, 9.1, 11.1, 9.3],
        [10.5, 9.7, 10.3, 10.0, 9.8, 9.6, 8.3, 10.2, 9.8, 10.0, 10.0, 9.1],
    ]
)
# https://mc-stan.org/priorsense/articles/getting_started.html (4,000 draws that come with the package, October 2025)
PUBLISHED = {"mu": (0.390, 0.558), "sigma": (0.288, 0.527)}
# the same on other draws: the vignettes with rstan and with JAGS
OTHERS = {"mu": [(0.433, 0.641), (0.376, 0.524)], "sigma": [(0.360, 0.674), (0.252, 0.468)]}


def log_prior_of(mu, sigma):
    return stats.norm.logpdf(mu, 0, 1) + stats.norm.logpdf(sigma, 0, 2.5)


def log_likelihood_of(mu, sigma):
    squares = (Y**2).sum() - 2 * mu * Y.sum() + len(Y) * mu**2
    return -len(Y) * np.log(sigma) - squares / (2 * sigma**2)


@pytest.fixture(scope="module")
def posteriors():
    """Thirty times 4,000 independent draws from the exact posterior, by a fine grid."""
    rng = np.random.default_rng(1)
    mu, sigma = np.meshgrid(np.linspace(6, 11.5, 1000), np.linspace(0.3, 4, 1000), indexing="ij")
    log_density = log_prior_of(mu, sigma) + log_likelihood_of(mu, sigma)
    density = np.exp(log_density - log_density.max()).ravel()
    chosen = rng.choice(density.size, (30, 4000), p=density / density.sum())
    jitter = rng.uniform(-0.5, 0.5, (2, *chosen.shape))
    return mu.ravel()[chosen] + jitter[0] * 5.5 / 999, sigma.ravel()[chosen] + jitter[1] * 3.7 / 999


def test_the_published_sensitivities_are_met(posteriors):
    rows = {"mu": [], "sigma": []}
    for mu, sigma in zip(*posteriors, strict=True):
        prior, likelihood = power.scale(log_prior_of(mu, sigma)), power.scale(log_likelihood_of(mu, sigma))
        for name, draws in (("mu", mu), ("sigma", sigma)):
            rows[name].append(power.sensitivities(draws, (prior, likelihood)))
    for name, values in rows.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        # a published number is one draw from the spread over posteriors of 4,000 draws
        assert np.all(np.abs(mean - PUBLISHED[name]) < 2 * spread), name
        for other in OTHERS[name]:
            assert np.all(np.abs(mean - other) < 4 * spread), name
        assert np.all(spread < 0.15 * mean)


def exact_distance(base, moved, low, high):
    """Return the distance between two distribution functions by quadrature."""
    x = np.linspace(low, high, 200_001)
    widest = 0.0
    for p, q in ((base.cdf(x), moved.cdf(x)), (base.sf(x), moved.sf(x))):
        m = (p + q) / 2
        terms = p * np.log2(p / m) + q * np.log2(q / m)
        widest = max(widest, np.trapz(terms, x) / np.trapz(p + q, x))
    return widest**0.5


@pytest.mark.parametrize("prior_sd", [0.5, 1.0, 5.0])
def test_a_conjugate_normal_is_met_exactly(prior_sd):
    """y ~ N(mu, 1), n = 10, mean 2: the scaled posteriors are normal, with the prior's precision times alpha."""
    n, mean, precision = 10, 2.0, 1 / prior_sd**2

    def posterior(prior_alpha=1.0, likelihood_alpha=1.0):
        total = prior_alpha * precision + likelihood_alpha * n
        return stats.norm(likelihood_alpha * n * mean / total, total**-0.5)

    base = posterior()
    draws = base.ppf((np.arange(40_000) + 0.5) / 40_000)
    low, high, slope = draws.min(), draws.max(), sum(abs(np.log2(a)) for a in power.ALPHAS)
    exact_prior = sum(exact_distance(base, posterior(a, 1.0), low, high) for a in power.ALPHAS) / slope
    exact_likelihood = sum(exact_distance(base, posterior(1.0, a), low, high) for a in power.ALPHAS) / slope
    prior = power.scale(stats.norm.logpdf(draws, 0, prior_sd))
    likelihood = power.scale(-n * (mean - draws) ** 2 / 2)
    of_prior, of_likelihood = power.sensitivities(draws, (prior, likelihood))
    assert of_prior == pytest.approx(exact_prior, rel=0.01)
    assert of_likelihood == pytest.approx(exact_likelihood, rel=0.01)
    assert prior.pareto_k < 0.7


def test_the_distance_does_not_depend_on_sign_or_scale():
    rng = np.random.default_rng(3)
    x, weights = rng.gamma(2, size=500), rng.dirichlet(np.ones(500))
    assert power.distance(-x, weights) == pytest.approx(power.distance(x, weights), rel=1e-10)
    assert power.distance(7 * x - 3, weights) == pytest.approx(power.distance(x, weights), rel=1e-10)
    assert power.distance(x, np.full(500, 1 / 500)) == pytest.approx(0, abs=1e-7)
    assert power.distance(np.ones(500), weights) == 0.0
    assert 0 < power.distance(x, weights) < 1


def judged(prior, likelihood, draws, wanted=True):
    import arviz as az

    idata = az.from_dict(
        posterior={"mu": draws},
        sample_stats=None if prior is None else {"log_prior": prior},
        log_likelihood=None if likelihood is None else {"y": likelihood},
    )
    return Judged(idata, None, "nuts", DiagnosticsSpec(prior_sensitivity=wanted))


def normal_case(prior_mean, prior_sd, n, seed=5):
    rng = np.random.default_rng(seed)
    total = prior_sd**-2 + n
    mu = rng.normal(prior_mean * prior_sd**-2 / total, total**-0.5, (4, 1000))
    y = rng.normal(size=n)
    y -= y.mean()
    points = stats.norm.logpdf(y, mu[..., None], 1)
    return stats.norm.logpdf(mu, prior_mean, prior_sd), points, mu


@pytest.mark.parametrize(
    ("prior_mean", "prior_sd", "n", "diagnosis"),
    [(0, 10, 50, "ok"), (8, 1, 10, "prior-data conflict"), (0, 0.1, 1, "strong prior / weak likelihood")],
)
def test_the_diagnosis(prior_mean, prior_sd, n, diagnosis):
    result = CHECK.run(judged(*normal_case(prior_mean, prior_sd, n)))
    if diagnosis == "ok":
        assert [f.severity for f in result.findings] == ["ok"]
    else:
        assert [f.severity for f in result.findings] == ["warn"]
        assert diagnosis in result.findings[0].message
        assert result.findings[0].variable == "mu"
    assert result.metrics["sensitivity_prior/mu"] == result.metrics["sensitivity_prior_max"]


def test_it_runs_only_when_asked_for():
    assert CHECK.run(judged(*normal_case(0, 1, 10), wanted=False)).findings == ()


@pytest.mark.parametrize(
    ("prior_mean", "prior_sd", "n", "said"),
    [
        (0, 10, 50, "No parameter is sensitive"),
        (8, 1, 10, "mu: prior-data conflict"),
        (0, 0.1, 1, "Prior and data do not disagree"),
    ],
)
def test_by_default_it_tells_without_a_warning(prior_mean, prior_sd, n, said):
    result = CHECK.run(judged(*normal_case(prior_mean, prior_sd, n), wanted="auto"))
    (found,) = result.findings
    assert found.severity == "ok" and found.message.startswith(said)
    assert bool(found.remedy) == ("conflict" in said)
    assert list(result.metrics) == ["sensitivity_prior_max"]


def test_by_default_nothing_is_said_where_it_can_not_be_computed():
    prior, points, mu = normal_case(0, 1, 10)
    for case in ((None, points, mu), (prior, None, mu), (prior[:, :3], points[:, :3], mu[:, :3])):
        assert CHECK.run(judged(*case, wanted="auto")).findings == ()


def test_what_is_missing_is_said():
    prior, points, mu = normal_case(0, 1, 10)
    assert "no log_prior" in CHECK.run(judged(None, points, mu)).findings[0].message
    assert "no log_likelihood" in CHECK.run(judged(prior, None, mu)).findings[0].message


def test_imputed_points_are_left_out():
    prior, points, mu = normal_case(0, 1, 10)
    gaps = points.copy()
    gaps[..., 3] = np.nan
    total = log_likelihood(judged(prior, gaps, mu).idata)
    assert np.allclose(total, np.delete(points, 3, axis=-1).sum(-1).ravel())


@pytest.mark.parametrize(
    ("priors", "scalar", "sweep"),
    [
        ({"mu": {"dist": "Normal", "mu": 8, "sigma": 1}}, "mu", "model.priors.mu.sigma=0.5,1,2,4"),
        ({"mu": {"dist": "HalfCauchy", "beta": 5}}, "mu", "model.priors.mu.beta=2.5,5,10,20"),
        (
            {"theta": {"dist": "Normal", "mu": "m", "sigma": "tau"}, "tau": {"dist": "Exponential", "lam": 2}},
            "theta[A]",
            "model.priors.tau.lam=1,2,4,8",
        ),
        ({"default": {"dist": "Normal", "mu": 0, "sigma": 3}}, "X1", "model.priors.default.sigma=1.5,3,6,12"),
        ({"default": {"dist": "Normal", "mu": 0, "sigma": "2.5 * term_scale"}}, "X1", None),
        ({"a": {"dist": "Normal", "mu": 0, "sigma": "b"}, "b": {"dist": "HalfNormal", "sigma": "a"}}, "a", None),
        ({"mu": {"dist": "Flat"}}, "mu", None),
    ],
)
def test_a_sweep_of_the_prior_is_offered_where_its_width_is_a_number(priors, scalar, sweep):
    advised = sweep_of_prior({"priors": priors}, scalar)
    assert advised == [] if sweep is None else f"`-m {sweep}`." in advised[0]


def test_a_conflict_has_the_sweep_as_its_remedy():
    model = {"priors": {"mu": {"dist": "Normal", "mu": 8, "sigma": 1}}}
    (found,) = CHECK.run(replace(judged(*normal_case(8, 1, 10)), model=model)).findings
    assert "prior-data conflict" in found.message and "`-m model.priors.mu.sigma=0.5,1,2,4`" in found.remedy
    (weak,) = CHECK.run(replace(judged(*normal_case(0, 0.1, 1)), model=model)).findings
    assert "-m" not in weak.remedy

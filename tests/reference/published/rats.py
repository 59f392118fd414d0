"""Gibbs sampling of BUGS' model of the rats; prints their rows of `bugs.csv`. Run it in this folder.

Y[i, j] ~ N(alpha[i] + beta[i] * (x[j] - 22), 1 / tau_c)
alpha[i] ~ N(alpha_c, 1 / tau_a),  beta[i] ~ N(beta_c, 1 / tau_b)
alpha_c, beta_c ~ N(0, 1e6),  tau_a, tau_b, tau_c ~ Gamma(0.001, 0.001),  alpha0 = alpha_c - 22 * beta_c
"""

import arviz as az
import numpy as np
import pandas as pd

WARM_UP, DRAWS = 4_000, 40_000
rng = np.random.default_rng(1)
weights = pd.read_csv("rats.csv").pivot(index="rat", columns="age", values="weight")
y, x = weights.to_numpy(dtype=float), weights.columns.to_numpy(dtype=float) - 22
rats, weeks = y.shape


def normal(precision: float, weighted: np.ndarray, size: int | None = None) -> np.ndarray:
    return weighted / precision + rng.standard_normal(size) / np.sqrt(precision)


def precision_of(residuals: np.ndarray) -> float:
    return rng.gamma(0.001 + residuals.size / 2) / (0.001 + (residuals**2).sum() / 2)


alpha_c, beta_c, tau_a, tau_b, tau_c = 240.0, 6.0, 0.01, 4.0, 0.03
kept = []
for _ in range(WARM_UP + DRAWS):
    alpha = normal(tau_a + weeks * tau_c, tau_a * alpha_c + tau_c * y.sum(axis=1), rats)
    beta = normal(tau_b + tau_c * (x**2).sum(), tau_b * beta_c + tau_c * (y @ x), rats)
    tau_c = precision_of(y - alpha[:, None] - beta[:, None] * x)
    alpha_c = normal(1e-6 + rats * tau_a, tau_a * alpha.sum())
    beta_c = normal(1e-6 + rats * tau_b, tau_b * beta.sum())
    tau_a, tau_b = precision_of(alpha - alpha_c), precision_of(beta - beta_c)
    kept.append((alpha_c - 22 * beta_c, beta_c, tau_c**-0.5, tau_a**-0.5, tau_b**-0.5))
for name, draws in zip(("alpha0", "beta.c", "sigma", "sd_alpha", "sd_beta"), np.array(kept[WARM_UP:]).T, strict=True):
    ess = az.ess(draws[None])
    print(f"rats,{name},{draws.mean():.6g},{draws.std():.6g},{draws.std() / ess**0.5:.6g},{ess:.0f}")

"""bayesrun: a configuration-driven runner of Bayesian models."""

__version__ = "0.2.0"

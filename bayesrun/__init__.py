"""bayesrun: a configuration-driven runner of Bayesian models."""

"""The generalised linear model: its config, design, checks, likelihoods and coordinates."""

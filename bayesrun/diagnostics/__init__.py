"""Checks of a posterior, one file per registered check; `base` defines what a check is, `judge` runs them all."""

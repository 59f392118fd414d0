"""Checks of a posterior, by subject; `base` defines what a check is and runs them all."""

"""Distributions defined by expressions: log density, distribution function, mean and random draws.

A distribution of this folder is a line of the table in `bayesrun.language.distributions` and an entry `NAME:
Declared(...)` in the module of its kind. An engine lowers the expressions into its own graph, with one class for all.
"""

"""Samplers: one file per method, and the chains and monitors that they share."""

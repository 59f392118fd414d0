"""Generalised linear models: another name of `type: regression`, which has grown from it."""

from __future__ import annotations

from bayesrun.models.regression.regression_model import MODEL

__all__ = ["MODEL"]

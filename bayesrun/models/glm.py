"""Generalised linear models: an alias of `type: regression`."""

from __future__ import annotations

from bayesrun.models.regression.regression_model import MODEL

__all__ = ["MODEL"]

"""The version of bayesrun, which the build of its package reads here."""

from __future__ import annotations

__version__ = "0.2.0"

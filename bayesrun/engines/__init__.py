"""Engines: libraries that hold a model, evaluate its log density and draw from it."""

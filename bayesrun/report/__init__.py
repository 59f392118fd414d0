"""Output of a run: console, progress, `model.svg` and `posterior.nc`."""

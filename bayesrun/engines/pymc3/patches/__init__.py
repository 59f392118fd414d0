"""Changes to PyMC3 and Theano, one file each: what, why, for which versions, and what it buys.

Config key `engine.patches` switches them: `all`, `none` or a list of names. Draws and log densities are the same
without any (tests/integration/test_patches.py). Seconds are those of a whole command on two cores (docs/speed.md).
"""

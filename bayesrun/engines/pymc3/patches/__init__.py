"""Changes to PyMC3 and Theano, one file each: what, why, for which versions, and what it buys.

Config key `engine.patches` switches them: `all`, `none` or a list of names. Draws and log densities are the same
without any (`tests/unit/engines/pymc3/test_patches.py`). "Buys" is the processor time
that a whole small command (eight schools, 200 draws) takes more without this patch alone.
"""

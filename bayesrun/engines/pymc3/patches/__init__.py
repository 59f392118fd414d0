"""Changes to PyMC3 and Theano, one file each: what, why, for which versions, and what it buys.

Config key `engine.patches` switches them: `all`, `none` or a list of names. Draws and log densities are the same
without any (`tests/unit/engines/pymc3/test_patches.py`). "Buys" is processor time of a whole small command (eight
schools, linear regression), measured by leaving out this patch alone.
"""

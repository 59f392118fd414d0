"""A small engine in NumPy and SciPy: the log density of a declaration. It shows that a declaration needs no PyMC3."""

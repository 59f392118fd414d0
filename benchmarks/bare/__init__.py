"""Scripts as one writes them without bayesrun: the same models and data, in PyMC3 and its peers."""

"""PyMC3 on Theano. Nothing outside this folder imports either."""

"""Gradient descent on a dictionary of patches: losses, kernels, driver, and the test of the end."""

"""How fast numsim is, beside JAX, PyTorch and NumPy: ``python -m benchmarks``; see README.md here."""

"""Numba kernels: arrays in, arrays out; no checks, no randomness (the modules above do both)."""

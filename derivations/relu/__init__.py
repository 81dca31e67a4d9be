"""ReLU filters with label flips (K1, K2)."""

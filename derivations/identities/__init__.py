"""Gradients, decomposition, coordinates and limits, to round-off (E1 to E5)."""

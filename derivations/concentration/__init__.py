"""Concentration of noise, initial filters and classes (C1 to C3)."""

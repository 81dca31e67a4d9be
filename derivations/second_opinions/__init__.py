"""Second opinions: every finding measured once more by code that shares nothing with the claims.

Weight space at a dimension that fits into memory, the coordinates that d -> infinity leaves, an exact sum, or
another estimator. Nothing here imports numsim; what is claimed is written down as a number.

    python -m numsim.derivations.second_opinions [ENTRY ...]
"""

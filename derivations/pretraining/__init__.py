"""Contrastive pre-training (P1 to P6)."""

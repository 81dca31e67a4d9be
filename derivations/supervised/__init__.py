"""Supervised training and fine-tuning (S1 to S6)."""

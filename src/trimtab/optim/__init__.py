"""Optimizers whose state may live in pages, and learning-rate schedules."""

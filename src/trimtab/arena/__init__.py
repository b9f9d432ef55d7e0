"""Ratings, judges and tournaments between models."""

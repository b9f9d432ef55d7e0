"""Point-based editing on the image manifold of a frozen generator."""

"""Photos as styles of a generator, and what its styles cannot say as a low-rank adapter."""

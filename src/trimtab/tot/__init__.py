"""Tree of Thoughts: search over a model's thoughts."""

"""Every kernel, one function each; the only part of this room that others import."""

"""Compute kernels behind one door, ``trimtab.kernels.ops``: each has a plain PyTorch twin that specifies it."""

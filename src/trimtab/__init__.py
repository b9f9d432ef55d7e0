"""Keep a large pretrained network frozen, in 4 bits where that serves, and steer it with something small."""

__version__ = "0.1.0"

"""Optimizers whose state may live in pages, and learning-rate schedules."""

from trimtab.optim.adamw import PagedAdamW, PageOptions
from trimtab.optim.clip import clip_grad_norm
from trimtab.optim.schedules import KINDS, factor

__all__ = ["KINDS", "PageOptions", "PagedAdamW", "clip_grad_norm", "factor"]

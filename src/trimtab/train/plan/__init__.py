"""What a run will need, said before any weight is loaded."""

from trimtab.train.plan.job import Plan, make_plan, plan_events, plan_job
from trimtab.train.plan.shapes import SHAPES

__all__ = ["SHAPES", "Plan", "make_plan", "plan_events", "plan_job"]

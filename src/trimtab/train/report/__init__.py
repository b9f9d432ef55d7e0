"""``report.html``: what a run did, in one file that needs nothing else."""

from trimtab.train.report.page import Report, write_report

__all__ = ["Report", "write_report"]

"""Retention: what of a repository stays, what may go, and why. Pure; `plan.plan_retention` is where to start."""

from tallyman.domain.retention.inventory import Inventory
from tallyman.domain.retention.known import Known, Reading
from tallyman.domain.retention.plan import Plan, PlannedImage, plan_retention

__all__ = ["Inventory", "Known", "Plan", "PlannedImage", "Reading", "plan_retention"]

"""Retention: what of a repository stays, what may go, and why. Pure; `plan.plan_retention` is where to start."""

from tallyman.domain.retention.inputs import Reading, RetentionInputs
from tallyman.domain.retention.inventory import Inventory
from tallyman.domain.retention.plan import Plan, PlannedImage, plan_retention

__all__ = ["Inventory", "Plan", "PlannedImage", "Reading", "RetentionInputs", "plan_retention"]

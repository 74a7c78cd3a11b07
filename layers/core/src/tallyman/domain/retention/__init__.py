"""Retention: which images of a repository stay or are removed, and why. Pure; start at `plan.plan_retention`."""

from tallyman.domain.retention.inputs import RetentionInputs
from tallyman.domain.retention.inventory import Inventory
from tallyman.domain.retention.plan import Plan, PlannedImage, plan_retention
from tallyman.domain.usage import Reading

__all__ = ["Inventory", "Plan", "PlannedImage", "Reading", "RetentionInputs", "plan_retention"]

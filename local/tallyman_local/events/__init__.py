"""EventBridge, schedules and event source mappings."""

"""Incoming messages: EventBridge events, hints between functions, commands of people."""

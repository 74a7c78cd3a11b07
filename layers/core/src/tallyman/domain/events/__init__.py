"""What comes in: EventBridge events, hints between functions, commands of people."""

"""Writes facts: what events and people say, after the registry was asked again."""

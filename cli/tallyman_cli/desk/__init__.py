"""Commands that look: list, find, tree, diff, watch, cost. What they show is in `views`."""

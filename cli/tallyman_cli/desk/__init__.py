"""Commands that only read: list, find, tree, diff, watch, cost. `views` makes what they show."""

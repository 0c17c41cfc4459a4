"""Control groups: a job's own, their limits, and the tree that they are in."""

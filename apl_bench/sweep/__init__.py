"""A grid of runs: tasks, strategies and seeds, worked through by processes of one machine or by a cluster."""

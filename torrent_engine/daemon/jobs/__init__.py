"""The daemon's background work: hooks, watched folders, schedules, block lists, guards."""

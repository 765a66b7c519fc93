"""Queueing of a manager's torrents, and their seed goals."""

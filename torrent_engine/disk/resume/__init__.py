"""The saved state of torrents, and the decisions at a start."""

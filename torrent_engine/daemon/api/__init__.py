"""The daemon's own interface below ``/api/v1``."""

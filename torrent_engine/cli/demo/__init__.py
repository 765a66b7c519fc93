"""The parts of ``demo``."""

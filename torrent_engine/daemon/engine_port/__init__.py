"""What the daemon uses of the engine: facts and calls, behind protocols."""

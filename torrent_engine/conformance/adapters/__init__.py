"""How the kit starts programs."""

"""The tracker protocols, both sides (BEP 3, 15)."""

"""The engine: sessions and what they share."""

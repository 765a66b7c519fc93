"""Writing and hashing pieces in threads."""

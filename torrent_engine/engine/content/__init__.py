"""Files of the same content: which they are, and how they are copied."""

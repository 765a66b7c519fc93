"""Encodings, and the arithmetic of pieces and files, without I/O."""

"""Encodings and the arithmetic of a torrent: bytes to facts, no I/O."""

"""Piece picking, and the state of pieces and blocks."""

"""Fetching the metadata of a magnet link from many peers (BEP 9)."""

"""Downloading, uploading and verifying the pieces of one torrent."""

"""Tests of `torrent-engine stream`."""

"""Peer candidates, dials, admission, bans, peer exchange and hole punching."""

"""Decisions, pure: what to pick, whom to unchoke, whom to trust."""

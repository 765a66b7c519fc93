"""Sockets: thin drivers around the protocol cores."""

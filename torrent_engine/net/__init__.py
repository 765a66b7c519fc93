"""Drivers of the protocols on sockets."""

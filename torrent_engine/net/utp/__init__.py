"""uTP over UDP sockets (BEP 29)."""

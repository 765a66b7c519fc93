"""Local service discovery on multicast sockets (BEP 14)."""

"""The DHT on UDP sockets (BEP 5)."""

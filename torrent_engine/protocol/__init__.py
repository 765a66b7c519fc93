"""The protocols, sans-I/O: bytes and a time go in, events and bytes come out."""

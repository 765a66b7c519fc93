"""uTP (BEP 29): a byte stream over UDP that yields to other traffic, sans I/O."""

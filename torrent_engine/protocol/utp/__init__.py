"""uTP (BEP 29): a stream of bytes over datagrams that yields to other traffic, without I/O."""

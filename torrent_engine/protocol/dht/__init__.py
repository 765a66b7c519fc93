"""The distributed hash table (BEP 5 and what came after it), without sockets and clock."""

"""TCP and UDP sockets, interfaces, name resolution and fairness between them."""

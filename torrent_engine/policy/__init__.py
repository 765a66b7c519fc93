"""Pure decisions: which blocks to request, whom to unchoke, which peers to trust."""

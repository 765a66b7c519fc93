"""One run of a torrent, from its start to its stop."""

"""A BitTorrent engine in pure Python."""

"""Session: one torrent, from being added to being removed."""

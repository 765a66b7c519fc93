"""Making a torrent from files."""

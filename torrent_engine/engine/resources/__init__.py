"""What all torrents of a process share."""

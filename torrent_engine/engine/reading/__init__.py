"""Reading files of a torrent that is still being downloaded."""

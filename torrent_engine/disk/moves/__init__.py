"""Moving and renaming the files of a torrent."""

"""The files of a torrent: opening, reading, writing, partial pieces."""

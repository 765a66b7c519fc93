"""TorrentManager: many torrents, kept over restarts."""

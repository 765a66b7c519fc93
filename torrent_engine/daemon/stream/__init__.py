"""Streaming of files while they are downloaded: ranges, playlists, links for players."""

"""The interface that qBittorrent's remotes speak: its Web API v2, as version 2.11.4 has it."""

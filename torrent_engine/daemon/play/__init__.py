"""``torrent-engine stream``: one file of a torrent for a player, with or without a daemon."""

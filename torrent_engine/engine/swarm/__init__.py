"""The peers of one torrent: candidates, connections, handshakes, dispatch."""

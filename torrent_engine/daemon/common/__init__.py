"""What several interfaces need: sources of torrents, places in the queue, JSON replies."""

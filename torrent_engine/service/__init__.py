"""What `run` and other long-lived processes offer: control of a state folder's torrents."""

"""The web page of the daemon: its files, and the routes that serve them."""

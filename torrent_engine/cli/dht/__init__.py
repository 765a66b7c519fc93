"""The subcommands of ``dht``."""

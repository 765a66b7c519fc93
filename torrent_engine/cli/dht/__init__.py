"""The subcommands of ``dht``, and ``publish``."""

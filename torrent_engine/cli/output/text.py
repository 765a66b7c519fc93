"""Text from torrents and peers, made safe to print."""


def safe(text: str) -> str:
    """Return text that cannot control the terminal: names from torrents, messages of others."""
    from torrent_engine.codec.paths import escape_for_terminal  # costs the start of every command

    return escape_for_terminal(text)

"""``python -m torrent_engine``: the command line."""

from torrent_engine.cli.main import main

if __name__ == "__main__":
    main()

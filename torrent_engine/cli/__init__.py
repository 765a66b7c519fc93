"""The command line: click commands, rich display."""

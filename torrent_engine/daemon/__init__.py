"""The daemon: downloads in the background, with HTTP interfaces."""

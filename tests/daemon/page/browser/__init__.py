"""Tests of the daemon's web page in Debian's Chromium."""

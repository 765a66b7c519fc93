"""The state that interfaces show, with revisions, and the daemon's own database."""

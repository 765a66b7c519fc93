"""Reports of a run: text for people, JSON for programs."""

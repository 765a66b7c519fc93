"""A torrent without work: its announces, its links, and what makes it run again."""

"""What rules of programs that are trackers work with: announces over HTTP and UDP."""

"""What the commands do between options and output."""

"""What rules of downloading programs work with: seeds, a tracker, and a fresh process each time."""

"""Writing and hashing pieces in threads, large v2 checks in processes, too."""

"""The log of jobs, and the job of each session."""

"""A job's output on disk: the format, its writer (the monitor) and its readers (the daemon)."""

"""What a job sees of the file system."""

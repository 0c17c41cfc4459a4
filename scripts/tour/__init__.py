"""What `scripts/demo` does: the main job, shown and checked step by step."""

"""Questions about this host: disks, mounts, and what it can enforce."""

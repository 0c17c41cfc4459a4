"""What the kernel can do for a job: cgroups, namespaces, mounts, privileges. Knows no jobs."""

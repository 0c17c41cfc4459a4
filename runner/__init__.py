"""The daemon side: decisions, store, log, launcher, monitor, socket server."""

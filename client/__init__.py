"""The runnerd client: protocol, library and the runctl command. Never imports the daemon."""

__version__ = "0.1.0"

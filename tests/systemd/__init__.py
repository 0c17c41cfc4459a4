"""runnerd as a service of systemd, in a guest that systemd runs: see conftest.py."""

"""The VM lane: commands on a kernel of their own. Standard library only, see scripts/vm."""

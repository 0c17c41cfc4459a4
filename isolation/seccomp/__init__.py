"""Filters of system calls: rules, programs, and what a filter has to tell."""

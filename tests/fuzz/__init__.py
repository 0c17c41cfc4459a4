"""Fuzz targets: functions of bytes that raise only on a real defect. `scripts/fuzz` runs them.

Each target module has `one_input(data)` and `seeds()`, valid inputs to begin with. The drivers
(`driver`, without dependencies, and `guided`, with atheris) know nothing of what they call.
"""

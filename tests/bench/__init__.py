"""The benchmark: peers, floors and this project, measured side by side. See docs/PERFORMANCE.md."""

"""The native launcher's modules, each in a small C program beside its Python original."""

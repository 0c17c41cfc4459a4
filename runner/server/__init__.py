"""The socket server: frames in, handlers, frames out. Decides nothing about jobs."""

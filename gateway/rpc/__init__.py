"""The gRPC interface: its services over a session, and who may call them."""

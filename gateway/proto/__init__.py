"""The gRPC interface as files: protos, and what is generated from them."""

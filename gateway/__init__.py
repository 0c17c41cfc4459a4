"""runner-gateway: runnerd's jobs over mutual TLS, as REST, as gRPC and as runnerd's own protocol."""

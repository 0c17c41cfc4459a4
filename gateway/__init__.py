"""runner-gateway: runnerd's jobs over mutual TLS, as REST, gRPC and runnerd's own protocol."""

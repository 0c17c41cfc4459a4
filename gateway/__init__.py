"""runner-gateway: runnerd's jobs over mutual TLS, as REST, as gRPC and in runnerd's own protocol."""

"""Network namespaces: loopback alone, or a private network behind the host."""

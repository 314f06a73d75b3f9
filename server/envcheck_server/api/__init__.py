"""HTTP only: bytes in, calls to the service, bytes out."""

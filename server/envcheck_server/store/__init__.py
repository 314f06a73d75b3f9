"""What the collector remembers: an interface owned by the service, and one implementation per database."""

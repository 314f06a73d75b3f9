"""How a device and CI talk to the collector: client, request signing, spool."""

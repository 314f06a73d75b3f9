"""What the collector decides: no HTTP and no SQL here."""

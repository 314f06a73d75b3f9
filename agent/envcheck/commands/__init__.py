"""One file per command: options in, calls wired, an exit code out. No logic of its own."""

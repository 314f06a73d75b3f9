"""One file per revision, in the order of their numbers. A released revision never changes."""

"""What a machine is: one file a section, gathered by `gather`."""

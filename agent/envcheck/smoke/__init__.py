"""What a machine does: the real model run on golden inputs in a process of its own."""

"""The training side: what the graph needs, the noise floor, the bundle."""

"""One file per command of `envcheck-server`: wiring only."""

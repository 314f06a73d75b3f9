"""`python -m envcheck_server` is `envcheck-server`."""

from envcheck_server.cli import main

if __name__ == "__main__":
    main()

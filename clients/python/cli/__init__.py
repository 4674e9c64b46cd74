"""The command line: one command per namespace, and a load test. On a terminal it shows, elsewhere it prints lines."""

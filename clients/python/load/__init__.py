"""A load test: many clients that say what one would, at a rate, and how long the answers took."""

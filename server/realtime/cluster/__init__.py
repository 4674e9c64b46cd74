"""Many nodes as one, over Redis: who is where, what everybody is sent, and nothing lost when a node dies (SPEC §8)."""

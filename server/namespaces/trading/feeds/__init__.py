"""Where ticks come from: one file per kind."""

"""What a node knows of itself, for those who look after it: meters, records, alerts. It decides nothing."""

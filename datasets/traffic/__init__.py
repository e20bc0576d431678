"""Traffic: its record, its state, its pairs, and what an aircraft observes of it."""

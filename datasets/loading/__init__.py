"""Loading: shuffled batches of observations and labels, from memory or streamed from disk."""

"""Flying: the world, the one loop that flies it, and what is counted in flight."""

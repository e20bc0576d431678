"""The collector: ranges of episodes in, shards of a dataset out, by one process or many."""

"""Files: shards, manifest and card of a dataset, each written whole or not at all."""

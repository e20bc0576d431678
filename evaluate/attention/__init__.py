"""What the attention of a policy looks at."""

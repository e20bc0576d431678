"""Behavioural cloning: fit a network to the teacher's actions."""

"""Events too rare to be seen: how often, by multilevel splitting."""

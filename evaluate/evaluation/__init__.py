"""The evaluation: who flies, what is flown, what is kept, and what follows from it."""

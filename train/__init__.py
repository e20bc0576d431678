"""Networks and how they learn: behavioural cloning from datasets, fine-tuning with PPO, checkpoints."""

from .policy import Policy, load_pilot, load_policy

__all__ = ["Policy", "load_pilot", "load_policy"]

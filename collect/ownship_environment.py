"""The entry point that Minari datasets exported before 2026-11-25 store; the environment is in `environments`."""

from .environments.ownship import OwnshipEnv

__all__ = ["OwnshipEnv"]

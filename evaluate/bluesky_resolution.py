"""The module that BlueSky plugins installed before 2026-11-25 import; it registers RESO SKYCLONE."""

from .deployment.bluesky_plugin import SkyClone

__all__ = ["SkyClone"]

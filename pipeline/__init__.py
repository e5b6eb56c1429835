"""WoW Raid Telemetry: raid events from the wire to a finished report, reproducible to the byte."""

__version__ = "0.1.0"

"""Atrium: a real-time server that speaks Socket.IO."""

__version__ = "0.1.0"

"""Atrium: a real-time server that speaks Socket.IO."""

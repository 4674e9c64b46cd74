"""Atrium's client for Python, over the stock socketio client; it shares nothing with the server but the wire."""

"""Engine.IO v4: sessions over long polling and websocket. Source: https://socket.io/docs/v4/engine-io-protocol/"""

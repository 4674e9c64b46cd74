"""A little JWKS server that can rotate its keys, be slow, be wrong and be dead."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class KeyServer:
    def __init__(self) -> None:
        self.private: dict[str, PrivateKey] = {}
        self.fetches = 0
        self.status = 200
        self.body: bytes | None = None  # instead of the keys
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.arrived = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    def add_rsa(self, kid: str) -> None:
        self.private[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def add_ec(self, kid: str) -> None:
        self.private[kid] = ec.generate_private_key(ec.SECP256R1())

    def rotate(self, old: str, new: str) -> None:
        del self.private[old]
        self.add_rsa(new)

    def sign(self, kid: str, sub: str = "alice", *, key: PrivateKey | None = None, **claims: Any) -> str:
        private = key or self.private[kid]
        algorithm = "RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256"
        body = {"sub": sub, "exp": int(time.time()) + 600, **claims}
        return jwt.encode(body, private, algorithm=algorithm, headers={"kid": kid})

    def documents(self) -> list[dict[str, Any]]:
        documents = []
        for kid, private in self.private.items():
            maker = (
                jwt.algorithms.RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            )
            documents.append(json.loads(maker.to_jwk(private.public_key())) | {"kid": kid, "use": "sig"})
        return documents

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/certs", self._certs)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/certs"

    async def stop(self) -> None:
        if self._runner is not None:
            self.gate.set()
            await self._runner.cleanup()

    async def _certs(self, request: web.Request) -> web.Response:
        self.fetches += 1
        self.arrived.set()
        await self.gate.wait()
        body = self.body if self.body is not None else json.dumps({"keys": self.documents()}).encode()
        return web.Response(body=body, status=self.status, content_type="application/json")

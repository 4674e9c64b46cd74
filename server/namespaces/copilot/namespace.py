"""The events of `/copilot` (SPEC §7) and the server's three questions, bound to a connection; its rules: `service`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from server.namespaces.copilot import schemas, told
from server.namespaces.copilot.planner.embedded import EmbeddedPlanner
from server.namespaces.copilot.planner.planning import Planner
from server.namespaces.copilot.service import MAX_RUNNING_PER_USER, CopilotService, Scope
from server.realtime import rooms
from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.namespace import Namespace
from server.realtime.told import Ack

QUERY_RATE = "queries"

AVAILABLE_DATA = "request_available_data"
API = "request_api"
CLARIFICATION = "clarification_request"


class CopilotNamespace(Namespace):
    path = "/copilot"
    tells = told.TELLS
    requests = told.REQUESTS

    def __init__(
        self,
        *,
        data_timeout: float,
        person_timeout: float,
        max_queries: int = MAX_RUNNING_PER_USER,
        planner: Planner | None = None,
        require_auth: bool = True,
    ) -> None:
        """Timeouts in seconds: how long a client may take for data, and a person for a question. `max_queries` of a
        user run at once."""
        super().__init__(require_auth=require_auth)
        self.data_timeout = data_timeout
        self.person_timeout = person_timeout
        self._planner = planner or EmbeddedPlanner()
        self.service = CopilotService(self.spawn, self._planner, self.tell_user, most=max_queries)

    async def start(self) -> None:
        if self.server.node is not None:
            self.service.join(self.server.node)

    async def stop(self) -> None:
        await self.service.stop()
        await self._planner.close()

    @event("query", schemas.Query, rate=QUERY_RATE, ack=told.Started)
    async def query(self, connection: Connection, text: str, query_id: str | None) -> Mapping[str, object]:
        """Asks something of the data that the client has: `processing` and `response`, or `error`, follow."""
        caller = _ConnectedCaller(self, connection)
        return {"query_id": await self.service.start(connection.identity.scope, text, query_id, caller)}

    @event("cancel", schemas.Cancel, ack=told.Cancelled)
    async def cancel(self, connection: Connection, query_id: str) -> Mapping[str, object]:
        """Stops a query."""
        await self.service.cancel(connection.identity.scope, query_id)
        return {"query_id": query_id}

    @event("available_data", schemas.AvailableData, ack=Ack)
    async def available_data(self, connection: Connection, request_id: str, datasets: object) -> None:
        """The answer to `request_available_data`, where it is not its ack."""
        await self.answer(connection, AVAILABLE_DATA, request_id, {"datasets": datasets})

    @event("api_result", schemas.ApiResult, ack=Ack)
    async def api_result(self, connection: Connection, request_id: str, data: object) -> None:
        """The answer to `request_api`, where it is not its ack."""
        await self.answer(connection, API, request_id, {"data": data})

    @event("human_response", schemas.HumanResponse, ack=Ack)
    async def human_response(self, connection: Connection, request_id: str, answer: str) -> None:
        """The answer to `clarification_request`, where it is not its ack."""
        await self.answer(connection, CLARIFICATION, request_id, {"answer": answer})

    async def tell_user(self, scope: Scope, event: str, payload: Mapping[str, object]) -> None:
        """All their connections."""
        await self.emit(event, payload, room=rooms.user_room(*scope))


class _ConnectedCaller:
    """`service.Caller` over the connection that asked, and over the user's others once it is gone."""

    def __init__(self, namespace: CopilotNamespace, connection: Connection) -> None:
        self._namespace = namespace
        self._connection = connection

    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]:
        answer = await self._namespace.ask(
            self._connection, AVAILABLE_DATA, {"query": query}, schemas.Datasets, timeout=self._namespace.data_timeout
        )
        return cast("Sequence[Mapping[str, object]]", answer["datasets"])

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
        answer = await self._namespace.ask(
            self._connection,
            API,
            {"dataset": dataset, "params": params},
            schemas.Data,
            timeout=self._namespace.data_timeout,
        )
        return cast("Sequence[Mapping[str, object]]", answer["data"])

    async def clarify(self, question: str, options: Sequence[str]) -> str:
        answer = await self._namespace.ask(
            self._connection,
            CLARIFICATION,
            {"question": question, "options": options},
            schemas.Clarification,
            timeout=self._namespace.person_timeout,
        )
        return cast("str", answer["answer"])

    async def tell(self, event: str, payload: Mapping[str, object]) -> None:
        connection = self._connection
        if self._namespace.connection(connection.id) is not None:
            await self._namespace.send(connection, event, payload)
        else:
            await self._namespace.tell_user(connection.identity.scope, event, payload)

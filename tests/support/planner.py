"""A planner that puts each of the three questions once, whatever the query says: what is tested is not the answer."""

from __future__ import annotations

from server.namespaces.copilot.planner.answers import Answer
from server.namespaces.copilot.planner.planning import Client, Progress


class Straight:
    """`planning.Planner`. The person chooses where there is more than one dataset; the figure is the costs' sum."""

    async def close(self) -> None:
        """It holds nothing."""

    async def answer(self, text: str, client: Client, progress: Progress) -> Answer:
        await progress("requesting_data")
        names = [str(dataset["name"]) for dataset in await client.available_data(text)]
        name = names[0] if len(names) == 1 else await client.clarify("Which one?", names)
        await progress("fetching")
        rows = await client.rows(name, {})
        data: dict[str, object] = {"overall": sum(float(str(row["cost"])) for row in rows)}
        return Answer(f"{name}: {len(rows)} rows", data, [{"dataset": name, "rows": len(rows)}])

"""Queries on equipment's past: what was stored, and what is left of it after a while."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Integer, Select, String, and_, column, delete, func, or_, select, update, values
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from server.namespaces.monitor.damping import Alarm, Kind
from server.namespaces.monitor.models import EquipmentAlarm, EquipmentChange, EquipmentWatch, milliseconds, moment
from server.namespaces.monitor.schemas import Status
from server.namespaces.monitor.watch import Change, Past

WATCH = 1  # the id of its one row

Shelves = dict[tuple[str, Kind], tuple[datetime, str | None]]


# -- what is stored -----------------------------------------------------------------------------------------------


async def store(
    db: AsyncSession,
    changes: Sequence[Change],
    alarms: Collection[Alarm],
    unshelved: Mapping[str, datetime],
    seen_until: datetime | None,
) -> None:
    """Whatever of it was stored before, when nobody could tell whether it was, stays as it is. `unshelved`: alarms by
    id whose shelf ended by itself, and when."""
    if changes:
        rows = [
            {
                "equipment_code": change.equipment_code,
                "at": milliseconds(change.at),
                "status": change.status,
                "previous_status": change.previous,
            }
            for change in changes
        ]
        await (await db.connection()).execute(_insert(db, EquipmentChange).on_conflict_do_nothing(), rows)
    if alarms:
        alarm = _insert(db, EquipmentAlarm)
        of_the_reader = ("cleared_at", "occurrences", "flapping")
        await (await db.connection()).execute(
            alarm.on_conflict_do_update(
                index_elements=["alarm_id"],
                set_={name: alarm.excluded[name] for name in of_the_reader},
                where=EquipmentAlarm.cleared_at.is_(None),  # whoever was suspended may know less than the reader now
            ),
            [
                {
                    "alarm_id": each.alarm_id,
                    "equipment_code": each.equipment_code,
                    "kind": each.kind,
                    "raised_at": each.raised_at,
                    "cleared_at": each.cleared_at,
                    "occurrences": each.occurrences,
                    "flapping": each.flapping,
                    "shelved_until": each.shelved_until,
                    "shelved_by": each.shelved_by,
                }
                for each in alarms
            ],
        )
    for alarm_id, at in unshelved.items():
        await db.execute(
            update(EquipmentAlarm)
            .where(EquipmentAlarm.alarm_id == alarm_id, EquipmentAlarm.shelved_until <= at)
            .values(shelved_until=None)
        )
    if seen_until is not None:
        watch = _insert(db, EquipmentWatch).values(id=WATCH, seen_until=milliseconds(seen_until))
        await db.execute(
            watch.on_conflict_do_update(index_elements=["id"], set_={"seen_until": watch.excluded.seen_until})
        )


def _insert(db: AsyncSession, table: type[Any]) -> Any:
    """Both databases' `INSERT … ON CONFLICT`, which is in no standard."""
    dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


# -- where the last reader left off -----------------------------------------------------------------------------------


async def past(db: AsyncSession, codes: Collection[str], now: datetime) -> Past:
    """Of these machines; alarms of others too."""
    open_alarms = await db.scalars(select(EquipmentAlarm).where(EquipmentAlarm.cleared_at.is_(None)))
    return Past(
        last=await last(db, codes),
        alarms=[_alarm(row) for row in open_alarms],
        shelves=await shelves(db, now),
        seen_until=await seen_until(db),
    )


async def seen_until(db: AsyncSession) -> datetime | None:
    found = await db.scalar(select(EquipmentWatch.seen_until).where(EquipmentWatch.id == WATCH))
    return None if found is None else moment(found)


async def last(db: AsyncSession, codes: Collection[str], before: datetime | None = None) -> dict[str, Change]:
    """The last change of each machine that has one, `before` a time."""
    if not codes:
        return {}
    wanted = values(column("code", String), name="wanted").data([(code,) for code in codes]).cte("wanted")
    newest = select(func.max(EquipmentChange.at)).where(EquipmentChange.equipment_code == wanted.c.code)
    if before is not None:
        newest = newest.where(EquipmentChange.at < milliseconds(before))
    ends = select(wanted.c.code, newest.correlate(wanted).scalar_subquery().label("at")).cte("ends")
    rows = await db.execute(
        _changes().join(ends, and_(EquipmentChange.equipment_code == ends.c.code, EquipmentChange.at == ends.c.at))
    )
    return {change.equipment_code: change for change in _read(rows)}


async def shelves(db: AsyncSession, now: datetime) -> Shelves:
    """The longest of each machine and kind, of those that hold; of open alarms those too whose time is over."""
    query = select(
        EquipmentAlarm.equipment_code, EquipmentAlarm.kind, EquipmentAlarm.shelved_until, EquipmentAlarm.shelved_by
    ).where(
        EquipmentAlarm.shelved_until.is_not(None),
        or_(EquipmentAlarm.cleared_at.is_(None), EquipmentAlarm.shelved_until > now),
    )
    rows = await db.execute(query.order_by(EquipmentAlarm.shelved_until))
    return {(row.equipment_code, row.kind): (row.shelved_until, row.shelved_by) for row in rows}


def _alarm(row: EquipmentAlarm) -> Alarm:
    return Alarm(
        row.alarm_id,
        row.equipment_code,
        cast(Kind, row.kind),
        row.raised_at,
        row.occurrences,
        row.flapping,
        row.cleared_at,
        row.shelved_until,
        row.shelved_by,
    )


# -- changes to read --------------------------------------------------------------------------------------------------


async def changes(db: AsyncSession, code: str, start: datetime, end: datetime, limit: int) -> list[Change]:
    """The newest first, from `start` to before `end`."""
    query = _changes().where(
        EquipmentChange.equipment_code == code,
        EquipmentChange.at >= milliseconds(start),
        EquipmentChange.at < milliseconds(end),
    )
    return _read(await db.execute(query.order_by(EquipmentChange.at.desc()).limit(limit)))


def _changes() -> Select[Any]:
    return select(
        EquipmentChange.equipment_code, EquipmentChange.at, EquipmentChange.status, EquipmentChange.previous_status
    )


def _read(rows: Any) -> list[Change]:
    return [Change(code, moment(at), cast(Status, status), previous) for code, at, status, previous in rows]


Spans = Sequence[tuple[int, int]]
#: Of a span: the status, its milliseconds, the first and the last change to it.
Sums = list[tuple[int, Status, int, int, int]]


async def sums(db: AsyncSession, code: str, spans: Spans) -> Sums:
    """The time in each status in these spans of milliseconds, each from its first change on, by the spans' numbers."""
    given = (
        values(
            column("number", Integer), column("first", EquipmentChange.at.type), column("next", EquipmentChange.at.type)
        )
        .data([(number, first, end) for number, (first, end) in enumerate(spans)])
        .cte("spans")
    )
    until = func.lead(EquipmentChange.at, 1, given.c.next).over(
        partition_by=given.c.number, order_by=EquipmentChange.at
    )
    parts = (
        select(given.c.number, EquipmentChange.status, EquipmentChange.at, until.label("until"))
        .join_from(given, EquipmentChange, EquipmentChange.at >= given.c.first)
        .where(EquipmentChange.equipment_code == code, EquipmentChange.at < given.c.next)
        .subquery()
    )
    rows = await db.execute(
        select(
            parts.c.number,
            parts.c.status,
            func.sum(parts.c.until - parts.c.at),
            func.min(parts.c.at),
            func.max(parts.c.at),
        ).group_by(parts.c.number, parts.c.status)
    )
    return [(number, cast(Status, status), int(spent), first, last) for number, status, spent, first, last in rows]


# -- alarms to read and to act on -------------------------------------------------------------------------------------


async def alarms(
    db: AsyncSession,
    *,
    is_open: bool | None = None,
    codes: Collection[str] | None = None,
    before: int | None = None,
    limit: int,
) -> list[EquipmentAlarm]:
    """The newest first; `before` an id."""
    query = select(EquipmentAlarm)
    if is_open is not None:
        cleared = EquipmentAlarm.cleared_at
        query = query.where(cleared.is_(None) if is_open else cleared.is_not(None))
    if codes is not None:
        query = query.where(EquipmentAlarm.equipment_code.in_(codes))
    if before is not None:
        query = query.where(EquipmentAlarm.id < before)
    return list(await db.scalars(query.order_by(EquipmentAlarm.id.desc()).limit(limit)))


async def alarm(db: AsyncSession, alarm_id: str) -> EquipmentAlarm | None:
    """Locked until the transaction ends."""
    found: EquipmentAlarm | None = await db.scalar(
        select(EquipmentAlarm).where(EquipmentAlarm.alarm_id == alarm_id).with_for_update()
    )
    return found


async def unshelve(db: AsyncSession, code: str, kind: str, by: str | None) -> None:
    """Every alarm of this machine and kind: the next one would be shelved with them."""
    await db.execute(
        update(EquipmentAlarm)
        .where(
            EquipmentAlarm.equipment_code == code,
            EquipmentAlarm.kind == kind,
            EquipmentAlarm.shelved_until.is_not(None),
        )
        .values(shelved_until=None, unshelved_by=by)
    )


# -- retention --------------------------------------------------------------------------------------------------------


async def codes(db: AsyncSession, after: str = "") -> str | None:
    """The next machine that has changes: one seek, where DISTINCT would look at every row."""
    query = select(func.min(EquipmentChange.equipment_code)).where(EquipmentChange.equipment_code > after)
    found: str | None = await db.scalar(query)
    return found


async def forget_changes(db: AsyncSession, code: str, before: datetime, limit: int) -> int:
    """How many: up to `limit` of the oldest, but not the last one, which says what was when `before` came."""
    older = and_(EquipmentChange.equipment_code == code, EquipmentChange.at < milliseconds(before))
    newest = select(func.max(EquipmentChange.at)).where(older).scalar_subquery()
    oldest = (
        select(EquipmentChange.id).where(older, EquipmentChange.at < newest).order_by(EquipmentChange.at).limit(limit)
    )
    return await _forget(db, EquipmentChange, oldest)


async def forget_alarms(db: AsyncSession, before: datetime, limit: int) -> int:
    cleared = select(EquipmentAlarm.id).where(EquipmentAlarm.cleared_at < before).limit(limit)
    return await _forget(db, EquipmentAlarm, cleared)


async def _forget(db: AsyncSession, table: Any, ids: Select[Any]) -> int:
    result = await db.execute(delete(table).where(table.id.in_(ids)).execution_options(synchronize_session=False))
    return int(cast(Any, result).rowcount)

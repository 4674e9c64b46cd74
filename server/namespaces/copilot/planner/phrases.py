"""Figures and questions said in the query's language; every number comes from `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

from server.namespaces.copilot.planner.figures import Figure, Figures
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.ranking import Choice
from server.namespaces.copilot.planner.selection import Filters, Nothing
from server.namespaces.copilot.planner.wish import Bucket, Operation

MAX_NAME = 80  # characters

_KOREAN = {
    Operation.SUM: "합계",
    Operation.AVERAGE: "평균",
    Operation.COUNT: "건수",
    Operation.HIGHEST: "최댓값",
    Operation.LOWEST: "최솟값",
}
_ENGLISH = {
    Operation.SUM: "total",
    Operation.AVERAGE: "average",
    Operation.COUNT: "count",
    Operation.HIGHEST: "highest",
    Operation.LOWEST: "lowest",
}


def amount(value: Decimal) -> str:
    """`1,234.5`: at most two decimals, more only for what would otherwise be 0."""
    with localcontext(prec=120):
        rounded = round(value, 2)
    if rounded == 0 and value != 0:
        return f"{value:.3g}"
    text = f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def answer(figures: Figures, dataset: str, *, korean: bool) -> str:
    return _korean(figures, plain(dataset)) if korean else _english(figures, plain(dataset))


def plain(text: str) -> str:
    """A client's own name or value as it may stand in a sentence: one line, nothing invisible, not too long."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 1]}…"


def which_dataset(choice: Choice, *, korean: bool) -> str:
    if korean:
        reason = "질문에 맞는 데이터가 둘 이상입니다." if choice.matched else "질문에 맞는 데이터를 찾지 못했습니다."
        return f"{reason} 어느 데이터를 볼까요?"
    reason = "More than one dataset fits the question." if choice.matched else "No dataset clearly fits the question."
    return f"{reason} Which one do you mean?"


def no_datasets(*, korean: bool) -> str:
    return "사용할 수 있는 데이터가 없습니다." if korean else "There is no data to answer from."


def no_rows(dataset: str, span: Period | None = None, *, korean: bool) -> str:
    """`span` are the days that were asked for."""
    dataset, days = plain(dataset), _days(span) if span else ""
    if korean:
        return f"{dataset}에 {days or '조건'}에 맞는 행이 없습니다."
    return f"{dataset} returned no rows{' for ' if days else ''}{days}."


def no_choice(*, korean: bool) -> str:
    return "어느 데이터인지 알 수 없습니다." if korean else "It is not clear which dataset is meant."


def which_period(*, korean: bool) -> str:
    if korean:
        return "어느 기간을 볼까요? (예: 지난달, 2025-10, 2025-10-01 ~ 2025-10-15)"
    return "Which period do you mean? (For example: last month, 2025-10, 2025-10-01 to 2025-10-15)"


def periods_offered(*, korean: bool) -> list[str]:
    return ["이번 달", "지난달", "올해"] if korean else ["this month", "last month", "this year"]


def no_period(*, korean: bool) -> str:
    return "어느 기간인지 알 수 없습니다." if korean else "It is not clear which period is meant."


def incomplete(rows: int, *, korean: bool) -> str:
    if korean:
        return f"데이터가 더 있지만 처음 {rows:,}행만 읽었으므로 전체의 값이 아닙니다."
    return f"There are more: only the first {rows:,} rows were read, so these are not the figures of all."


def nothing(found: Nothing, dataset: str, *, korean: bool) -> str:
    """Why there is no answer from this dataset."""
    if found.unknown:
        said = ", ".join(found.unknown)
        return f"{dataset}에는 {said}에 대한 것이 없습니다." if korean else f"{dataset} holds nothing about {said}."
    dataset = plain(dataset)
    where = _filters(found.filters)
    if found.period is not None:
        where.append(_days(found.period))
    what = ", ".join(where)
    there = "" if found.span is None else _days(found.span)
    undated = found.period is not None and found.span is None
    if korean:
        why = f" (있는 기간: {there})" if there else " (날짜를 알 수 있는 열이 없습니다)" if undated else ""
        return f"{dataset}에 {what}에 해당하는 행이 없습니다{why}."
    why = f"; there is {there}" if there else "; no column holds a readable date" if undated else ""
    return f"{dataset} has no rows for {what}{why}."


def _korean(figures: Figures, dataset: str) -> str:
    basis = [f"{dataset} {figures.rows:,}행 기준", *_filters(figures.filters)]
    current, previous = figures.frame.current, figures.frame.previous
    if current is not None and figures.period_applied:
        basis.append(_days(current))
    if previous is not None:
        basis.append(f"{_days(previous)} 대비")
    lead = ", ".join(basis)
    if not figures.figures:
        body = "계산할 수 있는 값이 없습니다."
    elif figures.group_by is None:
        body = ", ".join(_plain_korean(figures, figure) for figure in figures.figures)
    else:
        direction = ("하위" if figures.wish.ascending else "상위") if figures.wish.top else ""
        shown = f" {direction} {len(figures.figures)}개" if direction else ""
        body = (
            f"{plain(figures.group_by)}별 {_measured_korean(figures)}{shown}: {_listed(figures.figures, '(값 없음)')}"
        )
        body += "" if figures.overall is None else f" (전체 {_overall(figures)}, {figures.groups:,}개 항목)"
    notes = []
    if current is not None and not figures.period_applied:
        notes.append(f"요청한 기간({_days(current)})으로 좁히지 못해 받은 행 전체로 계산했습니다 (날짜 열 없음).")
    if figures.undated:
        notes.append(f"날짜를 알 수 없는 {figures.undated:,}행은 제외했습니다.")
    if figures.skipped:
        notes.append(f"숫자가 없는 {figures.skipped:,}행은 제외했습니다.")
    if figures.unknown:
        notes.append(f"데이터에서 찾지 못한 이름: {', '.join(figures.unknown)}.")
    return " ".join((f"{lead} — {body}", *notes))


def _english(figures: Figures, dataset: str) -> str:
    basis = [f"{dataset}, {figures.rows:,} {'row' if figures.rows == 1 else 'rows'}", *_filters(figures.filters)]
    current, previous = figures.frame.current, figures.frame.previous
    if current is not None and figures.period_applied:
        basis.append(_days(current))
    if previous is not None:
        basis.append(f"against {_days(previous)}")
    source = f"({', '.join(basis)})"
    if not figures.figures:
        body = f"There is nothing to compute from {source}."
    elif figures.group_by is None:
        body = f"{'; '.join(_plain_english(figures, figure) for figure in figures.figures)} {source}."
    else:
        direction = "Bottom" if figures.wish.ascending else "Top"
        what = f"{plain(figures.group_by)} by {_measured_english(figures)}"
        lead = f"{direction} {len(figures.figures)} {what}" if figures.wish.top else _capital(what)
        groups = f"{figures.groups:,} {'group' if figures.groups == 1 else 'groups'}"
        overall = "" if figures.overall is None else f" (overall {_overall(figures)} in {groups})"
        body = f"{lead} {source}: {_listed(figures.figures, '(none)')}{overall}."
    notes = []
    if current is not None and not figures.period_applied:
        notes.append(
            f"The rows could not be narrowed to {_days(current)} (there is no date column), so all of them count."
        )
    if figures.undated:
        notes.append(f"Left out {figures.undated:,} without a readable date.")
    if figures.skipped:
        notes.append(f"Left out {figures.skipped:,} without a usable number.")
    if figures.unknown:
        notes.append(f"Not found in the data: {', '.join(figures.unknown)}.")
    return " ".join((body, *notes))


def _plain_korean(figures: Figures, figure: Figure) -> str:
    name = f"{plain(figure.label)} {_operation_korean(figures)}" if figure.label else "행 수"
    return f"{name} {_value(figure)}"


def _plain_english(figures: Figures, figure: Figure) -> str:
    name = f"{_capital(_operation_english(figures))} {plain(figure.label)}" if figure.label else "Number of rows"
    return f"{name}: {_value(figure)}"


def _measured_korean(figures: Figures) -> str:
    operation = _operation_korean(figures)
    return f"{plain(figures.measure)} {operation}" if figures.measure else operation


def _measured_english(figures: Figures) -> str:
    operation = _operation_english(figures)
    return f"{operation} {plain(figures.measure)}" if figures.measure else operation


def _listed(figures: Sequence[Figure], unnamed: str) -> str:
    places = enumerate(figures, 1)
    return ", ".join(
        f"{place}. {unnamed if figure.label is None else plain(figure.label)} {_value(figure)}"
        for place, figure in places
    )


def _operation_korean(figures: Figures) -> str:
    per = {Bucket.DAY: "일", Bucket.MONTH: "월", Bucket.YEAR: "연"}
    return f"{per[figures.per]}{_KOREAN[figures.operation]}" if figures.per else _KOREAN[figures.operation]


def _operation_english(figures: Figures) -> str:
    per = {Bucket.DAY: "daily", Bucket.MONTH: "monthly", Bucket.YEAR: "yearly"}
    return f"{_ENGLISH[figures.operation]} {per[figures.per]}" if figures.per else _ENGLISH[figures.operation]


def _overall(figures: Figures) -> str:
    return "" if figures.overall is None else _value(Figure(None, figures.overall, figures.previous))


def _value(figure: Figure) -> str:
    """`150 (+50 ← 100, +50%)` where it is compared."""
    if figure.previous is None:
        return amount(figure.value)
    percent = figure.percent
    ratio = "" if percent is None else f", {_signed(percent)}%"
    return f"{amount(figure.value)} ({_signed(figure.change)} ← {amount(figure.previous)}{ratio})"


def _signed(value: Decimal) -> str:
    return f"+{amount(value)}" if value > 0 else amount(value)


def _filters(filters: Filters) -> list[str]:
    return [f"{plain(name)} = {' / '.join(map(plain, values[:5]))}" for name, values in filters.items()]


def _days(period: Period) -> str:
    first, last = period.first.isoformat(), period.last.isoformat()
    return first if first == last else f"{first} ~ {last}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

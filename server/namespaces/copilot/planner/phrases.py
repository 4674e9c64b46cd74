"""Figures and questions said in the query's language; every number comes from `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

from server.namespaces.copilot.planner.figures import Figure, Figures
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.ranking import Choice
from server.namespaces.copilot.planner.wish import Operation

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
    return _korean(figures, dataset) if korean else _english(figures, dataset)


def which_dataset(choice: Choice, *, korean: bool) -> str:
    if korean:
        reason = "질문에 맞는 데이터가 둘 이상입니다." if choice.matched else "질문에 맞는 데이터를 찾지 못했습니다."
        return f"{reason} 어느 데이터를 볼까요?"
    reason = "More than one dataset fits the question." if choice.matched else "No dataset clearly fits the question."
    return f"{reason} Which one do you mean?"


def no_datasets(*, korean: bool) -> str:
    return "사용할 수 있는 데이터가 없습니다." if korean else "There is no data to answer from."


def no_rows(dataset: str, *, korean: bool) -> str:
    return f"{dataset}에 조건에 맞는 행이 없습니다." if korean else f"{dataset} returned no rows."


def no_choice(*, korean: bool) -> str:
    return "어느 데이터인지 알 수 없습니다." if korean else "It is not clear which dataset is meant."


def _korean(figures: Figures, dataset: str) -> str:
    basis = [f"{dataset} {figures.rows:,}행 기준", *_filters(figures)]
    if figures.period is not None and figures.period_applied:
        basis.append(_days(figures.period))
    lead = ", ".join(basis)
    if not figures.figures:
        body = "계산할 수 있는 값이 없습니다."
    elif figures.group_by is None:
        body = ", ".join(_plain_korean(figures, figure) for figure in figures.figures)
    else:
        direction = ("하위" if figures.ascending else "상위") if figures.top else ""
        shown = f" {direction} {len(figures.figures)}개" if direction else ""
        body = f"{figures.group_by}별 {_measured_korean(figures)}{shown}: {_listed(figures.figures, '(값 없음)')}"
        body += "" if figures.overall is None else f" (전체 {amount(figures.overall)}, {figures.groups:,}개 항목)"
    notes = []
    if figures.period is not None and not figures.period_applied:
        days = _days(figures.period)
        reason = f"있는 기간: {_days(figures.span)}" if figures.span else "날짜 열 없음"
        notes.append(f"요청한 기간({days})으로 좁히지 못해 받은 행 전체로 계산했습니다 ({reason}).")
    if figures.skipped:
        notes.append(f"숫자가 없는 {figures.skipped:,}행은 제외했습니다.")
    return " ".join((f"{lead} — {body}", *notes))


def _english(figures: Figures, dataset: str) -> str:
    basis = [f"{dataset}, {figures.rows:,} {'row' if figures.rows == 1 else 'rows'}", *_filters(figures)]
    if figures.period is not None and figures.period_applied:
        basis.append(_days(figures.period))
    source = f"({', '.join(basis)})"
    if not figures.figures:
        body = f"There is nothing to compute from {source}."
    elif figures.group_by is None:
        body = f"{'; '.join(_plain_english(figures, figure) for figure in figures.figures)} {source}."
    else:
        direction = "Bottom" if figures.ascending else "Top"
        what = f"{figures.group_by} by {_measured_english(figures)}"
        lead = f"{direction} {len(figures.figures)} {what}" if figures.top else _capital(what)
        groups = f"{figures.groups:,} {'group' if figures.groups == 1 else 'groups'}"
        overall = "" if figures.overall is None else f" (overall {amount(figures.overall)} in {groups})"
        body = f"{lead} {source}: {_listed(figures.figures, '(none)')}{overall}."
    notes = []
    if figures.period is not None and not figures.period_applied:
        days = _days(figures.period)
        reason = f"there is {_days(figures.span)}" if figures.span else "there is no date column"
        notes.append(f"The rows could not be narrowed to {days} ({reason}), so all of them count.")
    if figures.skipped:
        notes.append(f"Left out {figures.skipped:,} without a usable number.")
    return " ".join((body, *notes))


def _plain_korean(figures: Figures, figure: Figure) -> str:
    name = f"{figure.label} {_KOREAN[figures.operation]}" if figure.label else "행 수"
    return f"{name} {amount(figure.value)}"


def _plain_english(figures: Figures, figure: Figure) -> str:
    name = f"{_capital(_ENGLISH[figures.operation])} {figure.label}" if figure.label else "Number of rows"
    return f"{name}: {amount(figure.value)}"


def _measured_korean(figures: Figures) -> str:
    operation = _KOREAN[figures.operation]
    return f"{figures.measure} {operation}" if figures.measure else operation


def _measured_english(figures: Figures) -> str:
    operation = _ENGLISH[figures.operation]
    return f"{operation} {figures.measure}" if figures.measure else operation


def _listed(figures: Sequence[Figure], unnamed: str) -> str:
    places = enumerate(figures, 1)
    return ", ".join(
        f"{place}. {unnamed if figure.label is None else figure.label} {amount(figure.value)}"
        for place, figure in places
    )


def _filters(figures: Figures) -> list[str]:
    return [f"{name} = {' / '.join(values[:5])}" for name, values in figures.filters.items()]


def _days(period: Period) -> str:
    first, last = period.first.isoformat(), period.last.isoformat()
    return first if first == last else f"{first} ~ {last}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

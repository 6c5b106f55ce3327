"""The one-page report of a valuation: Markdown and PDF. Addresses and names are what others wrote: they are text."""

from __future__ import annotations

import io
from typing import Any

from models.valuation import Comparable, Property, RatioStudy, Valuation
from tasks.reports.render import escaped, plain

_ADJUSTMENTS = 10


def to_markdown(subject: Property, valuation: Valuation, study: RatioStudy | None = None) -> str:
    """The page."""
    money = _money(valuation)
    lines = [f"# {escaped(subject.address)}: {money(valuation.value)}", ""]
    lines += [
        f"**{escaped(_headline(valuation))}**",
        "",
        f"As of {valuation.as_of}, by {escaped(valuation.model or 'a model')}.",
    ]
    if valuation.land is not None and valuation.building is not None:
        lines.append(f"Land {money(valuation.land)}, building {money(valuation.building)}.")
    lines += ["", "## Why", "", "| what | given | amount |", "| --- | --- | --: |"]
    lines.append(f"| typical property | | {money(valuation.typical)} |")
    lines += [
        f"| {escaped(one.feature)} | {escaped(one.given)} | {_signed(one.amount)} |" for one in valuation.contributions
    ]
    lines.append(f"| **value** | | **{money(valuation.value)}** |")
    if valuation.comparables:
        lines += ["", "## Comparable sales", ""]
        rows = _grid(valuation)
        lines += [f"| {' | '.join(escaped(cell) for cell in rows[0])} |", f"| --- |{' --: |' * (len(rows[0]) - 1)}"]
        lines += [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows[1:]]
        lines += ["", f"Indicated by them: {money(valuation.indicated or 0.0)}."]
    if study is not None:
        lines += ["", "## How good such values are", "", escaped(_proof(study))]
    if valuation.warnings:
        lines += ["", "## To be known", "", *[f"- {escaped(one)}" for one in valuation.warnings]]
    return "\n".join(lines) + "\n"


def to_pdf(
    subject: Property,
    valuation: Valuation,
    study: RatioStudy | None = None,
    *,
    place: bytes = b"",
    reasons: bytes = b"",
) -> bytes:
    """The same on one page A4, with a map and a plot of the reasons (PNG); the same bytes from the same values."""
    from reportlab.lib import colors  # noqa: PLC0415
    from reportlab.lib.pagesizes import A4  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415
    from reportlab.lib.units import mm  # noqa: PLC0415
    from reportlab.platypus import (  # noqa: PLC0415
        Image,
        KeepInFrame,
        Paragraph,
        SimpleDocTemplate,
        Spacer,
        Table,
        TableStyle,
    )  # fmt: skip

    body = ParagraphStyle("body", fontName="Helvetica", fontSize=8.5, leading=11)
    small = ParagraphStyle("small", parent=body, fontSize=7, leading=9, textColor=colors.HexColor("#555555"))
    head = ParagraphStyle("head", parent=body, fontName="Helvetica-Bold", fontSize=10, leading=14, spaceBefore=4)
    title = ParagraphStyle("title", parent=head, fontSize=15, leading=19)
    money = _money(valuation)
    story: list[Any] = [
        Paragraph(_text(subject.address), title),
        Paragraph(f"<font size=13>{money(valuation.value)}</font>", title),
        Paragraph(_text(_headline(valuation)), body),
        Paragraph(_text(f"As of {valuation.as_of}, by {valuation.model or 'a model'}."), small),
    ]
    if valuation.land is not None and valuation.building is not None:
        story.append(Paragraph(f"Land {money(valuation.land)}, building {money(valuation.building)}.", body))
    pictures = [Image(io.BytesIO(png), width=84 * mm, height=64 * mm) for png in (place, reasons) if png]
    if pictures:
        story += [Spacer(1, 4), Table([pictures])]
    if valuation.comparables:
        rows = _grid(valuation)
        grid = Table([[plain(cell)[:24] for cell in row] for row in rows], repeatRows=1)
        grid.setStyle(
            TableStyle(
                [
                    ("FONT", (0, 0), (-1, -1), "Helvetica", 6.8),
                    ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 6.8),
                    ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
                    ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
                    ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#f3f5f8")]),
                    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
                ]
            )
        )
        story += [Paragraph("Comparable sales", head), grid,
                  Paragraph(f"Indicated by them: {money(valuation.indicated or 0.0)}.", body)]  # fmt: skip
    if study is not None:
        story += [Paragraph("How good such values are", head), Paragraph(_text(_proof(study)), body)]
    if valuation.warnings:
        story += [Paragraph("To be known", head), *[Paragraph(_text(one), small) for one in valuation.warnings]]
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=15 * mm, bottomMargin=15 * mm,
        title=plain(subject.address), author="Lama", invariant=1,
    )  # fmt: skip
    # one page, whatever there is to say: it shrinks
    document.build([KeepInFrame(document.width, document.height - 14, story, mode="shrink")])
    return buffer.getvalue()


def _grid(valuation: Valuation) -> list[list[str]]:
    """The adjustment grid: a row for each thing that is adjusted, a column for each comparable; columns add up."""
    shown = valuation.comparables
    weight = {name: 0.0 for one in shown for name in (a.feature for a in one.adjustments)}
    for one in shown:
        for adjustment in one.adjustments:
            weight[adjustment.feature] += abs(adjustment.amount)
    kept = sorted((n for n in weight if n != "all else"), key=lambda name: -weight[name])[:_ADJUSTMENTS]
    rows = [["", *(f"{n + 1}) {one.address or one.property}"[:24] for n, one in enumerate(shown))]]
    rows.append(["sold", *(str(one.sold or "") for one in shown)])
    rows.append(["distance", *("" if one.distance_m is None else f"{one.distance_m:,.0f} m" for one in shown)])
    rows.append([f"area ({valuation.area_unit})", *(f"{one.area:,.0f}" for one in shown)])
    rows.append(["price", *(f"{one.price:,.0f}" for one in shown)])
    for name in kept:
        rows.append([name, *(_signed(_sum(one, {name})) for one in shown)])  # noqa: PERF401 - reads as the grid does
    others = set(weight) - set(kept)
    rows.append(["all else", *(_signed(_sum(one, others)) for one in shown)])
    rows.append(["adjusted price", *(f"{one.adjusted:,.0f}" for one in shown)])
    rows.append(["alike", *(f"{one.similarity:.0%}" for one in shown)])
    return rows


def _sum(one: Comparable, names: set[str]) -> float:
    return sum(adjustment.amount for adjustment in one.adjustments if adjustment.feature in names)


def _headline(valuation: Valuation) -> str:
    money = _money(valuation)
    return (
        f"{money(valuation.interval.low)} to {money(valuation.interval.high)} with {valuation.interval.coverage:.0%}; "
        f"forecast standard deviation {valuation.fsd:.1%}, confidence {valuation.confidence} of 100 "
        f"({valuation.grade})."
    )


def _proof(study: RatioStudy) -> str:
    overall = study.overall
    text = (
        f"On {overall.rows} sales, {study.split}: median ratio {overall.median.value:.3f}, "
        f"COD {overall.cod.value:.1f}, PRD {overall.prd.value:.3f}, PRB {overall.prb.value:+.3f}, "
        f"half of the values within {study.mdape:.1%}."
    )
    if study.coverage:
        text += (
            " Intervals held "
            + ", ".join(f"{one.found:.1%} at {one.nominal:.0%}" for one in study.coverage)
            + " by the model as it was before the first of them; with its level kept up to date "
            + ", ".join(f"{one.rolling:.1%} at {one.nominal:.0%}" for one in study.coverage)
            + "."
        )
    return text


def _money(valuation: Valuation) -> Any:
    return lambda amount: f"{amount:,.0f} {valuation.currency}"


def _signed(amount: float) -> str:
    return f"{amount:+,.0f}"


def _text(text: str) -> str:
    """`text` for a paragraph of reportlab, which reads markup."""
    kept = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return kept.encode("cp1252", "replace").decode("cp1252")

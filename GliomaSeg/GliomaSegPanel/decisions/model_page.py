"""The card of a model as a page of Qt's rich text."""

from __future__ import annotations

import html
from collections.abc import Collection

from GliomaSegLib.case import Modality
from GliomaSegLib.zoo.card import Accuracy, Card
from GliomaSegPanel.decisions.titles import STATUSES, TASKS, download_size, region_title
from GliomaSegPanel.translation import _


def card_html(card: Card, installed: bool) -> str:
    """The card of a model as a page of Qt's rich text."""
    everything, needed = _titles(card.inputs.sequences), _titles(card.inputs.mandatory)
    mandatory = _("needed: {names}").format(names=needed)
    rows = [
        (_("For"), TASKS.get(card.task, card.task.value)),
        (_("Sequences"), f"{everything} ({mandatory})" if needed else everything),
        (_("Gives"), ", ".join(region_title(region) for region in card.regions)),
        (_("Size"), f"{download_size(card.weights.size_bytes)}, {_where(card, installed)}"),
        (_("Licence"), card.licence),
        (_("Weights"), f"{card.weights.licence}. {card.weights.attribution}"),
        (_("Please cite"), card.citation),
        (_("Tested"), STATUSES[card.status]),
        (_("Version"), card.version),
    ]
    if card.training:
        rows.insert(1, (_("Trained"), card.training))
    for sequence, regions in card.inputs.regions_without.items():
        what = ", ".join(region_title(region).lower() for region in regions)
        rows.append((_("Without {name}").format(name=sequence.title), _("{regions} only").format(regions=what)))
    table = "".join(
        f"<tr><td style='padding-right:8px'><b>{html.escape(title)}</b></td><td>{html.escape(text)}</td></tr>"
        for title, text in rows
    )
    return (
        f"<h4>{html.escape(card.title)}</h4><p>{html.escape(card.summary)}</p>"
        f"<table cellpadding='2'>{table}</table>{_accuracy_html(card)}"
    )


def _where(card: Card, installed: bool) -> str:
    if card.weights.shipped:
        return _("comes with GliomaSeg")
    return _("on this computer") if installed else _("to be downloaded")


def _titles(sequences: Collection[Modality], between: str = ", ") -> str:
    return between.join(sequence.title for sequence in Modality if sequence in sequences)


def _accuracy_html(card: Card) -> str:
    parts, given = [], _("With")
    published, measured = _("Published accuracy (mean Dice)"), _("Measured accuracy (mean Dice)")
    for title, figures in ((published, card.published), (measured, card.measured)):
        if not figures:
            continue
        head = "".join(f"<th align='left'>{region.value}</th>" for region in card.regions)
        rows = "".join(_figure_html(figure, card) for figure in figures)
        sets = dict.fromkeys(_cases(figure) for figure in figures)
        remarks = dict.fromkeys(figure.remark for figure in figures if figure.remark)
        notes = html.escape("; ".join(sets) + ". " + " ".join(remarks))
        parts.append(
            f"<p><b>{title}</b></p><table cellpadding='2'><tr><th align='left'>{given}</th>{head}</tr>{rows}"
            f"</table><p><small>{notes}</small></p>"
        )
    return "".join(parts)


def _figure_html(figure: Accuracy, card: Card) -> str:
    values = [figure.dice.get(region) for region in card.regions]
    cells = "".join("<td>–</td>" if value is None else f"<td>{value:.2f}</td>" for value in values)
    return f"<tr><td style='padding-right:8px'>{_titles(figure.sequences, ' + ')}</td>{cells}</tr>"


def _cases(figure: Accuracy) -> str:
    return _("{count} cases of {data}").format(count=figure.cases, data=figure.data) if figure.cases else figure.data

"""The card of a model as a page of Qt's rich text."""

from __future__ import annotations

import html
from collections.abc import Collection

from GliomaSegLib.case import Modality
from GliomaSegLib.zoo.catalogue import Entry, Figure
from GliomaSegPanel.decisions.titles import STATUSES, TASKS, megabytes, region_title
from GliomaSegPanel.translation import _


def card_html(entry: Entry, installed: bool) -> str:
    """The card of a model as a page of Qt's rich text."""
    everything, needed = _titles(entry.needs.sequences), _titles(entry.needs.mandatory)
    rows = [
        (_("For"), TASKS.get(entry.task, entry.task)),
        (_("Sequences"), f"{everything} ({_('needed: {names}').format(names=needed)})" if needed else everything),
        (_("Gives"), ", ".join(region_title(region) for region in entry.needs.regions)),
        (_("Size"), f"{megabytes(entry.size_mb)}, {_where(entry, installed)}"),
        (_("Licence"), entry.licence),
        (_("Weights"), f"{entry.weights_licence}. {entry.attribution}"),
        (_("Please cite"), entry.citation),
        (_("Tested"), STATUSES.get(entry.status, entry.status)),
    ]
    if entry.training:
        rows.insert(1, (_("Trained"), entry.training))
    for sequence, regions in entry.needs.regions_without.items():
        what = ", ".join(region_title(region).lower() for region in regions)
        rows.append((_("Without {name}").format(name=sequence.title), _("{regions} only").format(regions=what)))
    table = "".join(
        f"<tr><td style='padding-right:8px'><b>{html.escape(title)}</b></td><td>{html.escape(text)}</td></tr>"
        for title, text in rows
    )
    return (
        f"<h4>{html.escape(entry.title)} {html.escape(entry.version)}</h4><p>{html.escape(entry.summary)}</p>"
        f"<table cellpadding='2'>{table}</table>{_accuracy_html(entry)}"
    )


def _where(entry: Entry, installed: bool) -> str:
    if entry.shipped:
        return _("comes with GliomaSeg")
    return _("on this computer") if installed else _("to be downloaded")


def _titles(sequences: Collection[Modality], between: str = ", ") -> str:
    return between.join(sequence.title for sequence in Modality if sequence in sequences)


def _accuracy_html(entry: Entry) -> str:
    parts = []
    published, measured = _("Published accuracy (mean Dice)"), _("Measured accuracy (mean Dice)")
    for title, figures in ((published, entry.published), (measured, entry.needs.measured)):
        if not figures:
            continue
        head = "".join(f"<th align='left'>{region.value}</th>" for region in entry.needs.regions)
        rows = "".join(_figure_html(figure, entry) for figure in figures)
        sets = dict.fromkeys(_cases(figure) for figure in figures)
        remarks = dict.fromkeys(figure.remark for figure in figures if figure.remark)
        notes = html.escape("; ".join(sets) + ". " + " ".join(remarks))
        parts.append(
            f"<p><b>{title}</b></p><table cellpadding='2'><tr><th align='left'>{_('With')}</th>{head}</tr>{rows}"
            f"</table><p><small>{notes}</small></p>"
        )
    return "".join(parts)


def _figure_html(figure: Figure, entry: Entry) -> str:
    values = [figure.dice.get(region) for region in entry.needs.regions]
    cells = "".join("<td>–</td>" if value is None else f"<td>{value:.2f}</td>" for value in values)
    return f"<tr><td style='padding-right:8px'>{_titles(figure.sequences, ' + ')}</td>{cells}</tr>"


def _cases(figure: Figure) -> str:
    return _("{count} cases of {data}").format(count=figure.cases, data=figure.data) if figure.cases else figure.data

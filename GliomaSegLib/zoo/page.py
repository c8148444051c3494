"""Formats model cards: one card as text for a terminal, all cards as a table for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from GliomaSegLib.case import Input
from GliomaSegLib.labels import Region
from GliomaSegLib.zoo.card import Accuracy, Card
from GliomaSegLib.zoo.card_network import Inference, Normalisation, Output, Space


def describe(card: Card, recorded: Mapping[str, str] | None = None) -> str:
    """A card as text for a terminal.

    Args:
        recorded: SHA-256 of each published file as it came when the model was installed, where it is.
    """
    lines = [
        f"{card.title} ({card.id} {card.version}, {card.status.value})",
        card.summary,
        "",
        f"Task        {card.task}; time point: {', '.join(kind.value for kind in card.time_points)}",
        f"Sequences   {', '.join(sequence.title for sequence in card.inputs.sequences)}{_demands(card)}",
        f"Regions     {', '.join(region.value for region in card.regions) or 'the brain'}",
        f"Space       {_space(card.space) if card.space else 'each member has its own'}",
        *_members(card),
        *_processing(card),
        f"Weights     {size(card)}, {card.weights.licence}. {card.weights.attribution}",
        f"Licence     {card.licence}",
        f"Citation    {card.citation}",
    ]
    if card.training:
        lines.append(f"Training    {card.training}")
    for sequence, regions in card.inputs.regions_without.items():
        lines.append(f"Without {sequence.title}: {', '.join(region.value for region in regions)} only")
    lines += _files(card, recorded or {})
    lines += _proof(card)
    for title, figures in (("Published", card.published), ("Measured", card.measured)):
        if figures:
            lines += ["", f"{title} mean Dice"]
            lines += [_figure(figure) for figure in figures]
    return "\n".join(lines)


def size(card: Card) -> str:
    """The size of the download: ``23 MB``; ``at least 23 MB`` if some sizes are unknown; ``size not published``."""
    if card.weights.members:
        return "those of its members"
    files = card.weights.files
    known = card.weights.size_bytes
    if not known:
        return "size not published"
    return f"{'at least ' if any(not file.size_bytes for file in files) else ''}{known / 1e6:.0f} MB"


def table(cards: Iterable[Card]) -> str:
    """The zoo as a table in Markdown, one row per card."""
    rows = ["| model | for | sequences | gives | weights | status |", "|---|---|---|---|---|---|"]
    for card in cards:
        sequences = ", ".join(sequence.title for sequence in card.inputs.sequences)
        gives = ", ".join(region.value for region in card.regions) or "the brain"
        cells = (
            f"`{card.id}`: {card.title}",
            card.task.replace("-", " "),
            f"{sequences}{_demands(card)}",
            gives,
            f"{_source(card)}, {size(card)}, {card.weights.licence}",
            card.status.value,
        )
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _source(card: Card) -> str:
    if card.weights.shipped:
        return "comes with GliomaSeg"
    if card.weights.package:
        return f"in the package {card.weights.package.name}"
    if card.weights.members:
        return f"fuses {' and '.join(card.weights.members)}"
    return "downloaded" if all(file.url for file in card.weights.files) else "given by the user"


def _demands(card: Card) -> str:
    inputs = card.inputs
    further = "".join(f", {channel.title}" for channel in inputs.preoperative)
    if inputs.sets:
        sets = "; ".join(", ".join(sequence.title for sequence in one) for one in inputs.sets)
        return f"{further} (works with one of: {sets})"
    if not inputs.mandatory:
        return f"{further} (any of them may be missing)" if len(inputs.sequences) > 1 else further
    if set(inputs.mandatory) == set(inputs.sequences):
        return f"{further} (all needed)" if len(inputs.sequences) > 1 else further
    return f"{further} ({', '.join(sequence.title for sequence in inputs.mandatory)} mandatory)"


def _space(space: Space) -> str:
    spacing = "spacing as its files say"
    if space.spacing_mm:
        spacing = " × ".join(f"{edge:g}" for edge in space.spacing_mm) + " mm"
    return f"{spacing}, {space.orientation}, {'skull-stripped' if space.brain == 'stripped' else 'head'}"


def _members(card: Card) -> list[str]:
    if not card.weights.members:
        return []
    return [f"Members     {', '.join(card.weights.members)}; vote: {card.network.parameters['vote']}"]


def _processing(card: Card) -> list[str]:
    """The lines on normalisation, inference and output, where the card has these blocks."""
    parts = (
        ("Grey values", card.normalisation and _normalisation(card.normalisation)),
        ("Inference", card.inference and _inference(card.inference)),
        ("Output", card.output and _output(card.output)),
    )
    return [f"{title:<12}{text}" for title, text in parts if text]


def _normalisation(given: Normalisation) -> str:
    if given.method in ("none", "published"):
        return {"none": "as they are", "published": "as the model's own files say"}[given.method]
    between = f" {given.percentiles[0]:g} to {given.percentiles[1]:g}" if given.percentiles else ""
    return f"{given.method}{between} over {given.over} voxels, per sequence{', clipped' if given.clip else ''}"


def _inference(given: Inference) -> str:
    what = {"full": "the whole grid", "brain": "the brain's box"}[given.field]
    if given.patch is None:
        text = f"{what} in one pass"
    else:
        patch = "×".join(map(str, given.patch))
        text = f"{what} in patches of {patch}, overlap {given.overlap:g}, {given.window} window"
    if given.mirrors:
        text += f", flipped along {', '.join(given.mirrors)}"
    return text


def _output(given: Output) -> str:
    limit = "" if given.activation == "softmax" else f", threshold {given.threshold:g}"
    text = f"{given.activation or 'as the family does'}{limit}: {', '.join(given.channels)}".removesuffix(": ")
    return text + ("; largest component" if given.largest_component else "")


def _files(card: Card, recorded: Mapping[str, str]) -> list[str]:
    lines = []
    for file in card.weights.files:
        if file.hash_published:
            hashed = f"SHA-256 {file.sha256}" if file.sha256 else f"MD5 {file.md5}"
        elif file.name in recorded:
            hashed = f"hash not published; SHA-256 when it was installed {recorded[file.name]}"
        else:
            hashed = "hash not published, kept at the first install"
        bytes_ = f"{file.size_bytes} bytes" if file.size_bytes else "size not published"
        lines.append(f"  {file.name} ({bytes_}; {hashed}) {file.url or 'no address known'}")
    return ["", "Files", *lines] if lines else []


def _proof(card: Card) -> list[str]:
    lines = []
    if card.parity:
        one = card.parity
        lines.append(
            f"  compared with {one.package} {one.version} on generated weights: {one.mismatches} of {one.voxels} "
            f"voxels differ ({one.date}; {one.command}){_remark(one.remark)}"
        )
    if card.verification:
        run = card.verification
        lines.append(f"  {run.finding} ({run.cases} cases: {run.data}; {run.date}; {run.command})")
    return ["", "Proof", *lines] if lines else []


def _figure(figure: Accuracy) -> str:
    dice = "  ".join(f"{region.value} {value:.3f}{_detail(figure, region)}" for region, value in figure.dice.items())
    if figure.balanced_accuracy is not None:
        dice += f"  balanced accuracy {figure.balanced_accuracy:.3f}"
    cases = f", {figure.cases} cases" if figure.cases else ""
    channels: tuple[Input, ...] = (*figure.sequences, *figure.preoperative)
    sequences = " + ".join(channel.title for channel in channels)
    return f"  {sequences:<32} {dice:<32} {figure.data}{cases} ({figure.source}){_remark(figure.remark)}"


def _detail(figure: Accuracy, region: Region) -> str:
    if (one := figure.regions.get(region)) is None:
        return ""
    lower, upper = (f"{100 * limit:+.0f}" for limit in one.volume_error)
    return f" (missed in {one.missed} of {one.cases}; volume {lower} to {upper} %)"


def _remark(remark: str | None) -> str:
    return f"; {remark}" if remark else ""


def row(card: Card, installed: bool) -> dict[str, Any]:
    """A card's line of the list, as plain values."""
    return {
        "id": card.id,
        "title": card.title,
        "task": card.task,
        "sequences": [sequence.value for sequence in card.inputs.sequences],
        "regions": [region.value for region in card.regions],
        "status": card.status.value,
        "size_bytes": card.weights.size_bytes or None,
        "weights_licence": card.weights.licence,
        "installed": installed,
    }

"""The page over a cohort: what needs a look first, a picture and the volumes of every case, links to their reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from GliomaSegLib import NOTICE
from GliomaSegLib.batch.cases import PAGE, PRIVATE, SUMMARY, manifest_of
from GliomaSegLib.batch.summary import VOLUMES, Line, State, replace_file
from GliomaSegLib.batch.thumbnail import OUTLINED, thumbnail
from GliomaSegLib.case import Modality
from GliomaSegLib.resources import resource
from GliomaSegLib.results.slice_pictures import hex_colour

REPORT = "report.html"


def write_page(output: Path, lines: Sequence[Line], source: Path) -> Path:
    """Write ``output``'s page in one step; the path of it.

    Args:
        source: what asked for the cases, to be named.

    Raises:
        InputError: it cannot be written.
    """
    html = render_page(output, lines, source)
    replace_file(output / PAGE, lambda stream: stream.write(html))
    return output / PAGE


def render_page(output: Path, lines: Sequence[Line], source: Path) -> str:
    """The page as HTML, in which only the links to the cases' reports lead outside; every text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(ml=_ml, titles=_titles)
    template = environment.from_string(resource("batch.html.j2").read_text(encoding="utf-8"))
    done = [line for line in lines if line.state is State.DONE]
    return template.render(
        notice=NOTICE,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        source=source.name,
        summary=SUMMARY,
        counts=Counter(line.state.value for line in lines),
        volumes=[name for name in VOLUMES if any(name in line.volumes for line in done)],
        medians={
            name: median([line.volumes[name] for line in done if name in line.volumes] or [0]) for name in VOLUMES
        },
        models=sorted({line.model for line in lines if line.model}),
        costs=Counter(line.cost for line in done if line.cost).most_common(),
        colours={region.value: hex_colour(region) for region in OUTLINED},
        seconds=median([line.seconds for line in done if line.seconds] or [0]),
        rows=[(line, *_picture_and_report(output, line)) for line in lines],
    )


def _picture_and_report(output: Path, line: Line) -> tuple[str, str]:
    """The picture as a data URI and the relative address of the report; empty where there is none."""
    if line.state is not State.DONE:
        return "", ""
    folder = line.case.output
    manifest = manifest_of(folder)
    kept = output / PRIVATE / "thumbnails" / f"{folder.name}.jpg"
    return thumbnail(folder, manifest, kept) if manifest else "", quote(f"{folder.name}/{REPORT}")


def _ml(value: float | None) -> str:
    """As a table shows it; nothing where the model does not give the region."""
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _titles(sequences: Sequence[str]) -> str:
    return ", ".join(Modality(one).title for one in sequences)

"""The HTML page of a batch: picture, volumes and report of every case, those that need a look first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from urllib.parse import quote

from markupsafe import Markup

from GliomaSegLib import NOTICE
from GliomaSegLib.batch.cases import PAGE, PRIVATE, SUMMARY
from GliomaSegLib.batch.summary import VOLUMES, CaseState, CaseSummary, replace_file
from GliomaSegLib.case import Modality
from GliomaSegLib.io.folder import own_manifest
from GliomaSegLib.io.terminology import hex_colour
from GliomaSegLib.resources import rendered, resource
from GliomaSegLib.results.slice_pictures import DRAWING_ORDER
from GliomaSegLib.results.thumbnail import thumbnail

REPORT = "report.html"


def write_page(output: Path, cases: Sequence[CaseSummary], source: Path) -> Path:
    """Write the page into ``output`` atomically; returns its path.

    Args:
        source: the table or folder of the cases, whose name is shown.

    Raises:
        InputError: it cannot be written.
    """
    html = render_page(output, cases, source)
    replace_file(output / PAGE, lambda stream: stream.write(html))
    return output / PAGE


def render_page(output: Path, cases: Sequence[CaseSummary], source: Path) -> str:
    """The page as HTML with escaped texts; only pictures and reports in ``output`` are linked."""
    done = [case for case in cases if case.state is CaseState.DONE]
    return rendered(
        "batch.html.j2",
        {"ml": _ml, "titles": _titles},
        notice=NOTICE,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        source=source.name,
        summary=SUMMARY,
        counts=Counter(case.state.value for case in cases),
        volumes=[name for name in VOLUMES if any(name in case.volumes for case in done)],
        medians={
            name: median([case.volumes[name] for case in done if name in case.volumes] or [0]) for name in VOLUMES
        },
        models=sorted({case.model for case in cases if case.model}),
        costs=Counter(case.cost for case in done if case.cost).most_common(),
        colours={region.value: hex_colour(region) for region in DRAWING_ORDER},
        reviews=sorted({case.review for case in done if case.review}),
        output=output,
        script=Markup(resource("list.js").read_text(encoding="utf-8")),
        seconds=median([case.seconds for case in done if case.seconds] or [0]),
        rows=[(case, *_picture_and_report(output, case)) for case in cases],
    )


def _picture_and_report(output: Path, summary: CaseSummary) -> tuple[str, str]:
    """The relative URLs of picture and report; empty if there is none."""
    if summary.state is not CaseState.DONE:
        return "", ""
    folder = summary.case.output
    manifest = own_manifest(folder)  # empty if it was changed meanwhile
    # A separate file, loaded when its row is scrolled to, so that a page of a thousand cases opens fast.
    picture = f"{PRIVATE}/thumbnails/{folder.name}.jpg"
    drawn = manifest and thumbnail(folder, manifest, output / picture)
    return quote(picture) if drawn else "", quote(f"{folder.name}/{REPORT}")


def _ml(value: float | None) -> str:
    """A volume in mL for the table; empty if the model does not segment the region."""
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _titles(sequences: Sequence[str]) -> str:
    return ", ".join(Modality(one).title for one in sequences)

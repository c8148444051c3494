"""``gliomaseg serve``: a DICOM node. It parses, calls the library and prints."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib import NOTICE

if TYPE_CHECKING:  # heavy imports happen inside the command
    from GliomaSegLib.dicom_node.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg serve``."""
    parser.description = (
        "Receive studies by DICOM, or fetch them from an Orthanc server; segment those that the rules name; send the "
        "answers back. It runs until it is stopped, and continues after a restart. See docs/hospital.md."
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the configuration (JSON)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--prepare", action="store_true", help="make the node's folder, once, and end")
    what.add_argument("--check", action="store_true", help="read the configuration and the rules, and end")
    what.add_argument("--drift", action="store_true", help="print the figures of every week as CSV, and end")
    what.add_argument(
        "--again", action="store_true", help="try once more what failed and what no rule fitted, then go on as always"
    )
    what.add_argument(
        "--repair", action="store_true", help="move a damaged queue aside, make a new one from the images, then go on"
    )
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Do what was asked; the exit status."""
    from GliomaSegLib.dicom_node.config import read_config
    from GliomaSegLib.dicom_node.storage import prepare

    config = read_config(parsed.config)
    if parsed.check:
        print(f"{parsed.config} is in order: {len(config.rules())} rules.", file=output)
    elif parsed.prepare:
        prepare(config.folder)
        print(f"{config.folder} is ready.", file=output)
    elif parsed.drift:
        _print_drift(config.folder, output)
    else:
        _serve(config, parsed.again, parsed.repair)
    return 0


def _print_drift(folder: Path, output: TextIO) -> None:
    from GliomaSegLib.dicom_node.drift import to_csv, weeks_of
    from GliomaSegLib.dicom_node.queue import Queue
    from GliomaSegLib.dicom_node.storage import Storage

    queue = Queue(Storage(folder).database)
    try:
        print(to_csv(weeks_of(queue.cases())), end="", file=output)
    finally:
        queue.close()


def _serve(config: Config, again: bool, repair: bool) -> None:
    from GliomaSegLib.dicom_node.permissions import create_privately
    from GliomaSegLib.dicom_node.service import Node, quiet_worker, repair_queue, set_up_logging
    from GliomaSegLib.worker.client import worker_command

    create_privately()
    if repair:
        print(repair_queue(config), file=sys.stderr)
    warnings.simplefilter("ignore")  # pydicom's warnings quote values of the header
    set_up_logging()
    node = Node(config, quiet_worker(worker_command(Path(sys.executable)), config.folder))
    with node.started(again):
        page = f"http://{config.web.host}:{node.web.port}/"
        print(f"The node is at work; its page is at {page} . {NOTICE}", file=sys.stderr, flush=True)
        node.run()

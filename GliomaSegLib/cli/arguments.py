"""Arguments that several commands have in common, and the fields of a :class:`~GliomaSegLib.job.Job` that they fill."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.options import AUTO, BrainMethod, Precision, Purpose, Task

if TYPE_CHECKING:
    from GliomaSegLib.zoo.store import Store

SEQUENCES = {sequence.value: sequence.title for sequence in Modality}
SCHEMES = [scheme.value for scheme in LabelScheme]
WRITTEN_SCHEMES = (LabelScheme.GLIOMASEG.value, LabelScheme.BRATS2017.value)
"""The numberings in which a whole segmentation can be written."""

TIME_POINTS = [kind.value for kind in TimePointKind]


def add_json(parser: argparse.ArgumentParser, help: str = "print as JSON") -> None:
    """The option ``--json``: with it nothing else goes to standard output."""
    parser.add_argument("--json", action="store_true", help=help)


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options ``--output`` and ``--overwrite``, for every command that makes one folder."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace results in OUT, unless edited or reviewed")


def add_root(parser: argparse.ArgumentParser) -> None:
    """The option ``--root``, for every command that reads case tables."""
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the table's paths, if not the table's own")


def add_machine(parser: argparse._ActionsContainer) -> None:
    """The options ``--device`` and ``--threads``."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 (and so on) or mps")
    parser.add_argument("--threads", type=int, metavar="N")


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option ``--store``, for every command that reads or installs weights."""
    parser.add_argument("--store", type=Path, metavar="DIR", help="folder of installed models, if not the user's own")


def chosen_store(parsed: argparse.Namespace) -> Store:
    """The store that a command line names, or the user's."""
    from GliomaSegLib.zoo.places import default_store
    from GliomaSegLib.zoo.store import Store

    return Store(parsed.store.expanduser() if parsed.store else default_store())


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options ``--model`` and ``--task``."""
    parser.add_argument(
        "--model", metavar="ID", default=AUTO,
        help="a model of 'gliomaseg models list'; 'auto', the default, is the best installed one that suits the case",
    )  # fmt: skip
    parser.add_argument(
        "--task", choices=Task.of_tumour(), help="what 'auto' looks for (default: glioma, by the time point)"
    )


def add_purpose(parser: argparse._ActionsContainer) -> None:
    """The option ``--purpose``."""
    parser.add_argument(
        "--purpose", choices=Purpose.values(), default=Purpose.VOLUME.value,
        help="after surgery, how much is left, or whether anything is: chooses among the models where none is named, "
        "and among the networks of one (default: %(default)s)",
    )  # fmt: skip


def add_processing(parser: argparse.ArgumentParser) -> None:
    """The options on how a case is processed, and on which machine: those that do not depend on the case."""
    steps = parser.add_argument_group("the steps")
    steps.add_argument(
        "--allow-incomplete", action="store_true", help="use a DICOM series too of which slices seem to be lost"
    )
    steps.add_argument("--no-registration", action="store_true", help="the sequences are known to be co-registered")
    steps.add_argument(
        "--brain", choices=BrainMethod.values(), default="deepbet", help="brain extraction (default: %(default)s)"
    )
    steps.add_argument(
        "--no-identity", action="store_true", help="keep no patient's name, numbers and dates in results and report"
    )
    steps.add_argument("--n4", action="store_true", help="correct the bias field")
    steps.add_argument("--seed", type=int, default=1, help="of the random numbers that some networks need")
    steps.add_argument("--label-scheme", choices=WRITTEN_SCHEMES, default="gliomaseg")
    maps = steps.add_mutually_exclusive_group()
    maps.add_argument("--no-probabilities", action="store_true", help="do not write probability maps")
    maps.add_argument(
        "--all-probabilities", action="store_true", help="write those of every region, each on the whole grid"
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--precision", choices=Precision.values(), default="auto", help="of the network")
    add_machine(machine)


def processing_fields(parsed: argparse.Namespace) -> dict[str, Any]:
    """The fields of a job that :func:`add_processing` and :func:`add_store` give."""
    return {
        "registration": not parsed.no_registration,
        "identity": not parsed.no_identity,
        "bias_correction": parsed.n4,
        "probabilities": not parsed.no_probabilities,
        **fields_of(parsed, "allow_incomplete", "brain", "seed", "all_probabilities", "label_scheme"),
        **fields_of(parsed, "device", "precision", "threads", "store"),
    }


def fields_of(parsed: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options whose names are those of fields."""
    return {name: getattr(parsed, name) for name in names}

"""Installs the packages that the worker needs in Slicer's Python: at the first use, with consent, never in a test.

The packages are not imported here: whether they are installed is read from their metadata.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import CalledProcessError

from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.resources import resource
from GliomaSegPanel.translation import _

REQUESTER = "GliomaSeg"

# As the extra `dicom` in pyproject.toml; Slicer 5.12 brings it.
DICOM_REQUIREMENTS = ("highdicom>=0.28",)


class Declined(GliomaSegError):
    """The user declined the installation of packages."""


class RestartNeeded(GliomaSegError):
    """The packages are installed, and Slicer has to be restarted before they can be used."""


def requirements(path: Path | None = None) -> tuple[str, ...]:
    """The lines of ``Resources/requirements.txt`` without comments, e.g. ``torch>=2.4``."""
    lines = (path or resource("requirements.txt")).read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def lacking(wanted: Iterable[str] | None = None) -> tuple[str, ...]:
    """The requirements that this Python does not meet."""
    return tuple(line for line in (requirements() if wanted is None else wanted) if not _met(line))


def _met(requirement: str) -> bool:
    name, _sign, least = requirement.partition(">=")
    try:
        return _numbers(version(name)) >= _numbers(least)
    except PackageNotFoundError:
        return False


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.4.1+cpu`` gives (2, 4, 1)."""
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def consent_text(missing: Iterable[str]) -> str:
    """The question to the user before anything is installed."""
    names = [line.partition(">=")[0] for line in missing]
    size = _(" (with PyTorch up to 3 GB)") if "torch" in names else ""
    return _(
        "GliomaSeg needs these Python packages, which Slicer does not have yet:\n\n{names}\n\n"
        "They are downloaded from the Python package index into Slicer's own Python{size}. "
        "Slicer does not react for some minutes. Install them now?"
    ).format(names=", ".join(names), size=size)


def ensure_dicom() -> None:
    """Install the packages that write DICOM SEG and SR, after asking the user.

    Raises:
        GliomaSegError: as :func:`ensure`.
    """
    _ensure(lacking(DICOM_REQUIREMENTS), _("DICOM SEG and SR cannot be written without the package; nothing was."))


def ensure() -> None:
    """Install all packages that the worker needs, after asking the user.

    Raises:
        Declined: the user declined, or this is a test, in which nothing is installed.
        RestartNeeded: Slicer has to be restarted.
        GliomaSegError: pip failed.
    """
    _ensure(
        lacking(),
        _("GliomaSeg cannot work without its packages, and they were not installed; press Apply to be asked again."),
    )


def _ensure(missing: tuple[str, ...], if_declined: str) -> None:
    import slicer

    if not missing:
        return
    if slicer.app.testingEnabled() or not slicer.util.confirmOkCancelDisplay(
        consent_text(missing), windowTitle=_("Install packages")
    ):
        raise Declined(if_declined)
    torch_was_missing = any(line.startswith("torch>") for line in missing)
    try:
        _install(missing)
    except Exception as error:  # any exception of pip, the network or the PyTorch extension
        ended = isinstance(error, CalledProcessError)  # its text is the whole command
        why = _("pip ended with exit status {status}").format(status=error.returncode) if ended else error
        raise GliomaSegError(
            _(
                "The packages could not be installed ({why}); check the network or proxy and try again. The Python "
                "console shows what pip said."
            ).format(why=why)
        ) from error
    if torch_was_missing and importlib.util.find_spec("PyTorchUtils"):
        # The PyTorch extension imports torch after the installation, which must not stay in the Slicer process.
        raise RestartNeeded(_("The packages are installed. Restart Slicer, then press Apply again."))


def _install(missing: tuple[str, ...]) -> None:
    """Install with the tools of this Slicer; torch by the PyTorch extension, which selects the build for the GPU."""
    import slicer

    torch = next((line for line in missing if line.startswith("torch>")), None)
    if torch and importlib.util.find_spec("PyTorchUtils"):
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=torch.removeprefix("torch"))
        missing = tuple(line for line in missing if line != torch)
    if importlib.util.find_spec("slicer.packaging") and not set(missing) & set(DICOM_REQUIREMENTS):
        from slicer.packaging import load_requirements, pip_ensure

        pip_ensure(load_requirements(resource("requirements.txt")), prompt_install=False, requester=REQUESTER)
    elif missing:
        with slicer.util.WaitCursor():
            slicer.util.pip_install(["--prefer-binary", *missing])

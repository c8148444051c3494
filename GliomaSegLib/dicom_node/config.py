"""The configuration of a node (JSON), checked whole before anything starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, model_validator

from GliomaSegLib.dicom_node.permissions import check_secret
from GliomaSegLib.dicom_node.rules import Routing, Rule
from GliomaSegLib.dicom_node.tls import Tls
from GliomaSegLib.errors import InputError
from GliomaSegLib.job import Device
from GliomaSegLib.options import ExportBy, ExportKind
from GliomaSegLib.record import Record, read_record

AeTitle = Annotated[str, StringConstraints(pattern=r"^[ -\[\]-~]{1,16}$", strip_whitespace=True, min_length=1)]
"""DICOM PS3.5: up to 16 characters without the backslash."""

Port = Annotated[int, Field(ge=1, le=65535)]

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_Record = TypeVar("_Record", bound=Record)


class Receive(Record):
    """The storage SCP that scanners and archives send to.

    Attributes:
        callers: AE titles that may send; all others are refused.
        max_associations: the most simultaneous associations.
        max_per_address: the most of these from one address; by default 80 %.
        tls: if given, only associations over TLS are accepted.
    """

    ae_title: AeTitle = "GLIOMASEG"
    host: str = "0.0.0.0"
    port: Port = 11112
    callers: tuple[AeTitle, ...] = Field(min_length=1)
    max_associations: int = Field(default=10, ge=1, le=1000)
    max_per_address: int | None = Field(default=None, ge=1)
    tls: Tls | None = None

    @property
    def per_address(self) -> int:
        """``max_per_address``, or its default."""
        return self.max_per_address or max(1, self.max_associations * 4 // 5)


class Login(Record):
    """A user name and the file that holds its password, so that the configuration itself holds no secret."""

    user: str = Field(pattern=r"^[^:]+$")
    password_file: Path

    def password(self) -> str:
        """The password, without the end of the line.

        Raises:
            InputError: the file cannot be read, is empty, or others can read it.
        """
        check_secret(self.password_file, "password file")
        try:
            text = self.password_file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The password file {self.password_file} cannot be read ({error}).") from error
        if not text:
            raise InputError(f"The password file {self.password_file} is empty; write the password of '{self.user}'.")
        return text


class Orthanc(Record):
    """An Orthanc server, by its REST interface.

    Attributes:
        watch: fetch the studies that arrive there.
        history: at the first start, also fetch what is there already.
        poll_s: seconds between two polls.
    """

    url: str = Field(pattern=r"^https?://")
    login: Login | None = None
    watch: bool = True
    history: bool = False
    poll_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)


class DicomPeer(Record):
    """An archive that receives the answers by C-STORE.

    Attributes:
        calling: the AE title under which this node calls; by default that of ``receive``.
        tls: if given, answers are sent over TLS only.
    """

    host: str
    port: Port
    ae_title: AeTitle
    calling: AeTitle = "GLIOMASEG"
    tls: Tls | None = None


class Web(Record):
    """The web server of the status page, health and metrics; reachable from other machines only with a login."""

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65535)
    login: Login | None = None

    @model_validator(mode="after")
    def _is_not_open_to_all(self) -> Web:
        if self.host not in _THIS_MACHINE and self.login is None:
            raise ValueError("the status page is to be seen from other machines; give it a login")
        return self


class Config(Record):
    """A node.

    Attributes:
        folder: holds all data of the node; made once by ``gliomaseg serve CONFIG --prepare``.
        routing: the file with the rules (see :class:`~GliomaSegLib.dicom_node.rules.Routing`).
        send: where the answers go: an archive, or ``"orthanc"`` for the Orthanc server of this configuration.
        kinds: the kinds of DICOM objects that are sent.
        quiet_s: a study is complete when no image has come for this many seconds.
        after_abort_s: the same for a study whose sender aborted its association and has not come back.
        largest_image_mb: a larger image is refused. The images that are being received take at most four times as much
            memory, and twice that while they are written.
        free_gb: with less free disk space than this nothing more is received.
        keep: the number of finished studies (whether answered, ignored or failed) whose images and results are kept.
        retries: how often a study is tried again when the worker died, or had to be stopped.
        longest_s: a worker that has not answered after this many seconds is stopped.
        threads, device: of the worker, see :class:`~GliomaSegLib.job.Job`.
    """

    folder: Path
    routing: Path
    receive: Receive | None = None
    orthanc: Orthanc | None = None
    send: DicomPeer | Literal["orthanc"]
    kinds: tuple[ExportKind, ...] = Field(default=tuple(ExportKind), min_length=1)
    by: ExportBy = ExportBy.REGIONS
    web: Web = Web()
    quiet_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    # Late senders took 15 to 30 minutes in Lotan 2021.
    after_abort_s: float = Field(default=1800.0, gt=0, allow_inf_nan=False)
    largest_image_mb: int = Field(default=512, ge=1, le=16384)
    free_gb: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    keep: int = Field(default=200, ge=0)
    retries: int = Field(default=3, ge=0)
    longest_s: float = Field(default=7200.0, gt=0, allow_inf_nan=False)
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"

    @model_validator(mode="after")
    def _receives_and_sends(self) -> Config:
        if self.receive is None and (self.orthanc is None or not self.orthanc.watch):
            raise ValueError("no study could come in; give 'receive', or an 'orthanc' that is watched")
        if self.send == "orthanc" and self.orthanc is None:
            raise ValueError("the answers are to go to Orthanc, but there is no 'orthanc'")
        return self

    def rules(self) -> tuple[Rule, ...]:
        """The rules, in their order.

        Raises:
            InputError: the file cannot be read, or is wrong.
        """
        return read_record(Routing, self.routing, "routing").rules


def read_config(path: Path) -> Config:
    """Read and check a configuration; relative paths in it start at its own folder.

    Raises:
        InputError: it, the rules, a password or a certificate cannot be read or is wrong, a secret can be read by
            others, the folder is a file, or a package is missing.
    """
    config = _with_absolute_paths(path.absolute().parent, read_record(Config, path, "configuration"))
    if config.folder.exists() and not config.folder.is_dir():
        raise InputError(f"The folder {config.folder} of the configuration {path} is a file; name a folder.")
    config.rules()
    for place in (config.orthanc, config.web):
        if place and place.login:
            place.login.password()
    if config.receive and config.receive.tls:
        config.receive.tls.server()
    if isinstance(config.send, DicomPeer) and config.send.tls:
        config.send.tls.client()
    _check_packages(config)
    return config


def _with_absolute_paths(base: Path, record: _Record) -> _Record:
    """``record`` and all records in it with relative paths made absolute from the folder ``base``."""
    changed: dict[str, Path | Record] = {}
    for name, value in record:
        if isinstance(value, Path):
            changed[name] = base / value.expanduser()
        elif isinstance(value, Record):
            changed[name] = _with_absolute_paths(base, value)
    return record.model_copy(update=changed)


def _check_packages(config: Config) -> None:
    needed = {
        "pynetdicom": config.receive is not None or isinstance(config.send, DicomPeer),
        "highdicom": bool({ExportKind.SEG, ExportKind.SR} & set(config.kinds)),
    }
    missing = [name for name, wanted in needed.items() if wanted and importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"The node needs {' and '.join(missing)}; install what is missing with: pip install 'GliomaSeg[dicom,node]'"
        )

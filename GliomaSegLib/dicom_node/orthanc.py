"""Fetches studies from Orthanc by its REST interface, and writes a receipt there when a study is answered.

The receipt is a metadata entry of the study in Orthanc: a node whose storage was lost sees from it which studies are
still to be processed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

from GliomaSegLib.dicom_node.config import Orthanc
from GliomaSegLib.dicom_node.queue import Queue, State, Study
from GliomaSegLib.dicom_node.receiver import Outcome, Receiver
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.dicom_node.transitions import log_place
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.io.dicom_files import MR_CLASSES

_RECEIPT = "1507"  # user-defined metadata of Orthanc have numbers from 1024 on
_CURSOR, _PAGE = "orthanc", 100
_TIMEOUT_S = (5, 60)
_CHUNK_BYTES = 1 << 20
_CHANGES = ("NewStudy", "NewSeries", "StableSeries", "StableStudy")
_OF_SERIES = ("NewSeries", "StableSeries")
_UNEXPECTED = 0  # no HTTP status
_LOG = logging.getLogger(__name__)


class OrthancError(GliomaSegError):
    """Orthanc does not answer, or refuses, or answers something unexpected.

    Attributes:
        status: the HTTP status; ``None`` when there was no answer.
    """

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


class OrthancServer:
    """An Orthanc server. Each of its methods raises :class:`OrthancError`; not thread-safe."""

    def __init__(self, config: Orthanc) -> None:
        self._url = config.url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy from the environment, no .netrc
        if config.login:
            self._session.auth = HTTPBasicAuth(config.login.user.encode(), config.login.password().encode())

    def changes(self, since: int) -> tuple[list[dict[str, Any]], int, bool]:
        """A page of the changes after number ``since``, the number of the last one, and whether there are no more."""
        page = self._json("GET", "/changes", params={"since": since, "limit": _PAGE})
        return page["Changes"], int(page["Last"]), bool(page["Done"])

    def last_change(self) -> int:
        """The number of the latest change."""
        return int(self._json("GET", "/changes?last")["Last"])

    def study_of_series(self, series: str) -> str | None:
        """The study of a series, by Orthanc's identifiers; ``None`` when it has been deleted."""
        found = self._found(f"/series/{series}")
        return found and found["ParentStudy"]

    def study(self, study: str) -> dict[str, Any] | None:
        """Orthanc's description of a study (JSON); ``None`` when it has been deleted."""
        return self._found(f"/studies/{study}")

    def mr_images(self, study: str) -> dict[str, list[str]]:
        """The MR images of a study, by series; empty when it has been deleted.

        Only MR images by their SOP class: a series of the modality MR may hold derived images, as GliomaSeg's overlays.
        """
        found = self._found(f"/studies/{study}/series") or []
        series = [one["ID"] for one in found if one["MainDicomTags"].get("Modality") == "MR"]
        asked = {"Resources": series, "Level": "Instance", "Metadata": True}
        images: dict[str, list[str]] = {one: [] for one in series}
        for instance in self._json("POST", "/tools/bulk-content", json=asked) if series else ():
            if instance["Metadata"].get("SopClassUid") in (None, *MR_CLASSES):
                images[instance["ParentSeries"]].append(instance["ID"])
        return images

    def image(self, instance: str, most_bytes: int) -> bytes | None:
        """A DICOM file; ``None`` when it has been deleted.

        Raises:
            InputError: it is larger than ``most_bytes``.
        """
        answer = self._existing(f"/instances/{instance}/file", stream=True)
        if answer is None:
            return None
        content = bytearray()
        try:
            for piece in answer.iter_content(_CHUNK_BYTES):
                content += piece
                if len(content) > most_bytes:
                    raise InputError(f"An image in Orthanc is larger than {most_bytes >> 20} MB and was passed over.")
        except requests.RequestException as error:
            raise OrthancError(f"Orthanc at {self._url} broke off ({type(error).__name__}).") from error
        finally:
            answer.close()
        return bytes(content)

    def has_study(self, uid: str) -> bool:
        """Whether a study is there, by its Study Instance UID."""
        return self._study_id(uid) is not None

    def store(self, content: bytes) -> None:
        """Add a DICOM file."""
        self._request("POST", "/instances", data=content, headers={"Content-Type": "application/dicom"})

    def receipt(self, study: str) -> str:
        """The text that :meth:`write_receipt` wrote; empty if there is none."""
        found = self._existing(f"/studies/{study}/metadata/{_RECEIPT}")
        return "" if found is None else found.text

    def write_receipt(self, uid: str, text: str) -> None:
        """Write the metadata entry of a study, by its Study Instance UID; nothing happens when it has been deleted."""
        study = self._study_id(uid)
        if study is not None:
            self._request("PUT", f"/studies/{study}/metadata/{_RECEIPT}", data=text)

    def _study_id(self, uid: str) -> str | None:
        found = self._json("POST", "/tools/lookup", data=uid)
        return next((one["ID"] for one in found if one["Type"] == "Study"), None)

    def _existing(self, path: str, **more: Any) -> requests.Response | None:
        """The response to a GET; ``None`` when the resource has been deleted."""
        try:
            return self._request("GET", path, **more)
        except OrthancError as error:
            if error.status == 404:
                return None
            raise

    def _found(self, path: str) -> Any:
        answer = self._existing(path)
        return None if answer is None else self._parsed(answer)

    def _json(self, method: str, path: str, **more: Any) -> Any:
        return self._parsed(self._request(method, path, **more))

    def _parsed(self, answer: requests.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise OrthancError(f"{self._url} is no Orthanc: its answer is no JSON.") from error

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self._url + path, timeout=_TIMEOUT_S, **more)
        except requests.RequestException as error:
            raise OrthancError(f"Orthanc at {self._url} does not answer ({type(error).__name__}).") from error
        if answer.status_code in (401, 403):
            raise OrthancError(f"Orthanc at {self._url} refuses the node's login.", answer.status_code)
        if not answer.ok:
            raise OrthancError(f"Orthanc at {self._url} answered {answer.status_code} to {method}.", answer.status_code)
        return answer


def receipt_of(instances: Iterable[str]) -> str:
    """A hash of the set of these images, by Orthanc's identifiers."""
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()


def receipt_for(storage: Storage, study: Study) -> str:
    """The receipt for the stored images of a study."""
    return receipt_of(path.stem for path in storage.image_files(study.key))


class OrthancWatcher:
    """Fetches images that have arrived at an Orthanc server, with each call of :meth:`poll`.

    A study is polled until Orthanc calls it stable, and again when something in it changes. The position in Orthanc's
    list of changes is stored such that no change is missed when the node is killed.
    """

    def __init__(
        self,
        config: Orthanc,
        server: OrthancServer,
        receiver: Receiver,
        queue: Queue,
        storage: Storage,
        largest_image_bytes: int,
    ) -> None:
        self._config, self._server, self._receiver, self._queue = config, server, receiver, queue
        self._storage, self._most_bytes = storage, largest_image_bytes
        self._open: dict[str, int] = {}  # study -> the change before the one that announced it
        self._since: int | None = None
        self._passed: set[str] = set()  # instances that were fetched and not stored

    def poll(self) -> None:
        """Fetch the new images.

        Raises:
            OrthancError: Orthanc does not answer, or refuses.
            StorageError: nothing can be kept now.
        """
        if self._since is None:
            self._since = self._first()
        done = False
        while not done:
            changes, last, done = self._server.changes(self._since)
            if done and not changes and last < self._since:
                _LOG.warning("the changes in Orthanc begin anew, as its database was replaced")
                self._since, self._open = 0 if self._config.history else last, {}
                done = not self._config.history
                continue
            for change in changes:
                try:
                    self._on_change(change)
                except (KeyError, TypeError, ValueError) as error:  # not a change of a study
                    log_place("a change in Orthanc was passed over", error)
            self._since = max(self._since, last)
        refused: OrthancError | None = None
        for study in list(self._open):
            try:
                if self._fetched(study):
                    del self._open[study]
            except OrthancError as error:
                if error.status is None:
                    raise
                refused = error  # this study is tried again; the others go on
            except (StorageError, Cancelled):
                raise
            except Exception as error:  # an unexpected answer of Orthanc: likewise
                log_place("a study in Orthanc", error)
                refused = OrthancError(
                    f"A study in Orthanc at {self._config.url} could not be fetched ({type(error).__name__}); see the "
                    "log.",
                    _UNEXPECTED,
                )
        self._queue.remember(_CURSOR, str(min(self._open.values(), default=self._since)))
        if refused is not None:
            raise refused

    def _first(self) -> int:
        kept = self._queue.recall(_CURSOR)
        if kept is not None:
            return int(kept)
        return 0 if self._config.history else self._server.last_change()

    def _on_change(self, change: Mapping[str, Any]) -> None:
        kind, before = change["ChangeType"], int(change["Seq"]) - 1
        if kind not in _CHANGES:
            return
        study = self._server.study_of_series(change["ID"]) if kind in _OF_SERIES else change["ID"]
        if study is not None:
            self._open.setdefault(study, before)

    def _fetched(self, study: str) -> bool:
        """Fetch the images that are not stored yet; whether the study is stable in Orthanc."""
        about = self._server.study(study)
        if about is None:
            return True
        series = self._server.mr_images(study)
        key = self._storage.key(about["MainDicomTags"]["StudyInstanceUID"])
        missing = [
            instance
            for one, instances in series.items()
            for instance in instances
            if instance not in self._passed and not self._receiver.has(key, one, instance)
        ]
        everything = receipt_of(instance for instances in series.values() for instance in instances)
        known = self._queue.study(key)  # before its receipt is read, which is written before it is answered
        answered = known is not None and (known.state, known.origin) == (State.ANSWERED, "orthanc")
        receipt = self._server.receipt(study) if missing or answered else ""
        if missing and receipt != everything:
            unreadable = sum(not self._fetch(instance) for instance in missing)
            if unreadable:
                self._queue.note(key, f"{unreadable} of its images in Orthanc cannot be read; they were passed over.")
        deleted = known is not None and (known.state is State.WITHDRAWN or (answered and not receipt))
        if known is not None and deleted and any(series.values()):
            self._receiver.reopen(key, known.uid, "orthanc")  # it was deleted in Orthanc, and has been sent again
        return bool(about.get("IsStable", True))

    def _fetch(self, instance: str) -> bool:
        """Fetch an image; whether it could be read."""
        readable = True
        try:
            content = self._server.image(instance, self._most_bytes)
            if content is None:
                return True
            outcome, _ = self._receiver.receive(content, "orthanc")
        except InputError as error:
            _LOG.warning("%s", error)
            outcome, readable = Outcome.NO_IMAGE, False
        except (OrthancError, StorageError, Cancelled):
            raise
        except Exception as error:  # concerns this image only
            log_place("an image in Orthanc was passed over", error)
            outcome, readable = Outcome.NO_IMAGE, False
        if outcome is not Outcome.NEW:
            self._passed.add(instance)
        return readable

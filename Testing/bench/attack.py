"""The node under attack: reception while two hosts attack, and malformed files. The figures of docs/security.md.

The short versions are in ``Testing/dicom_node``. On Linux every address 127.x.y.z is this machine's, so that senders
and attackers have addresses of their own.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import resource
import shutil
import socket
import struct
import tempfile
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.study.selection import identify
from Testing.support.attacker import attack, request_pdu
from Testing.support.live_node import MR, write_live_config
from Testing.support.malformed import mutations
from Testing.support.node_site import Site, node_process, write_config, write_images

STUDIES, IMAGES, SENDERS = 100, 200, 4
ATTACKERS = ("127.0.0.66", "127.0.0.67")
FILES = 500
_RULES = [{"name": "all", "ignore": "Only reception is measured."}]


# --- reception -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What the senders have seen; to be added to from any thread."""

    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    longest_wait_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


def reception(studies: int = STUDIES, images: int = IMAGES) -> None:
    """A hundred studies of two hundred images from four senders, while two hosts attack without a pause."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_live_config(folder, rules=_RULES, quiet_s=3600)
        port = read_config(config).receive.port
        process = node_process(config, [], folder / "log")
        tally, peak, ending = Tally(), [0], threading.Event()
        try:
            _wait_for(port)
            helpers = [threading.Thread(target=_watch_memory, args=(process.pid, peak, ending))]
            helpers += [threading.Thread(target=_keep_attacking, args=(port, one, ending)) for one in ATTACKERS]
            for helper in helpers:
                helper.start()
            (template,) = write_images(folder / "template", slices=1, sequences=[Modality.T1C])
            began = time.perf_counter()
            with ThreadPoolExecutor(SENDERS) as senders:
                numbers = range(studies)
                list(senders.map(lambda number: _send_study(port, number, template, images, tally), numbers))
            seconds = time.perf_counter() - began
            ending.set()
            for helper in helpers:
                helper.join()
            alive = process.poll() is None
        finally:
            process.terminate()
            process.wait()
        storage = Storage(read_config(config).folder)
        kept = sum(len(storage.image_files(key)) for key in storage.studies())
        log = (folder / "log").read_text()
    print(
        f"node {'lives' if alive else 'DIED'}; {tally.statuses[0]} of {studies * images} images answered with success,"
    )
    print(f"{kept} on the disk, other answers {dict(tally.statuses - Counter({0: tally.statuses[0]}))};")
    print(f"associations of senders refused {tally.refused} times, longest wait for one {tally.longest_wait_s:.1f} s;")
    print(f"{seconds:.0f} s, peak memory of the node {peak[0] / 1e6:.0f} MB, log {len(log) / 1e3:.0f} kB")
    if not alive or kept != studies * images or tally.longest_wait_s > 10:
        raise SystemExit("FAILED")


def _send_study(port: int, number: int, template: Path, images: int, tally: Tally) -> None:
    association = _associate(port, f"127.0.0.{11 + number % SENDERS}", tally)
    image = pydicom.dcmread(template)
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    for _ in range(images):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        status = association.send_c_store(image).get("Status", -1)
        with tally.lock:
            tally.statuses[status] += 1
        if status == -1:  # broken off: as a scanner does, again
            association = _associate(port, f"127.0.0.{11 + number % SENDERS}", tally)
    association.release()


def _associate(port: int, source: str, tally: Tally) -> Association:
    entity = AE("SCANNER")
    entity.add_requested_context(MR, ExplicitVRLittleEndian)
    began = time.monotonic()
    while True:
        association = entity.associate("127.0.0.1", port, ae_title="GLIOMASEG", bind_address=(source, 0))
        with tally.lock:
            tally.longest_wait_s = max(tally.longest_wait_s, time.monotonic() - began)
            tally.refused += not association.is_established
        if association.is_established:
            return association
        time.sleep(0.1)


def _keep_attacking(port: int, source: str, ending: threading.Event) -> None:
    """Silence, pieces of requests, garbage, PDUs of 4 GB and unlisted callers, in turn, as fast as they are taken."""
    contents = itertools.cycle(
        (b"", request_pdu()[:10], b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00" + b"\xff" * 4, request_pdu("STRANGER"),
         b"\x04\x00" + struct.pack(">L", 1 << 31), bytes(10_000))
    )  # fmt: skip
    held: list[socket.socket] = []
    while not ending.is_set():
        with contextlib.suppress(OSError):
            held.append(attack(port, next(contents), source))
        while len(held) > 200:
            held.pop(0).close()
        time.sleep(0.002)
    for one in held:
        one.close()


def _watch_memory(pid: int, peak: list[int], ending: threading.Event) -> None:
    process = psutil.Process(pid)
    while not ending.wait(0.1):
        with contextlib.suppress(psutil.Error):
            peak[0] = max(peak[0], process.memory_info().rss)


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError("the node does not listen")


# --- malformed files -------------------------------------------------------------------------------------------------


def malformed(count: int = FILES) -> None:
    """Five hundred files mutated from the phantom's (seed 18): received, decided on, and read as the worker does."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = _peak_mb()
        site = Site(write_config(folder))
        refusals: Counter[str] = Counter()
        read: Counter[str] = Counter()
        images = write_images(folder / "images", study="bad", slices=10)
        shutil.copytree(folder / "images", folder / "beside")  # the malformed file takes the place of a good one
        instead = folder / "beside" / images[0].relative_to(folder / "images")
        for content in mutations(images, count):
            instead.write_bytes(content)
            read[_read(folder / "beside")] += 1
            try:
                outcome, _ = site.receiver.receive(content, "dicom")
                refusals[f"received: {outcome.value}"] += 1
            except GliomaSegError as error:
                refusals[str(error)] += 1
        site.send(good := write_images(folder / "good", study="good", slices=10))
        site.wait(10_000)
        key = site.storage.key(str(pydicom.dcmread(good[0]).StudyInstanceUID))
        answered = site.queue.study(key).state is State.ANSWERED
        states = Counter(state.value for state in site.states())
        site.queue.close()
        after = _peak_mb()
    for sentence, number in refusals.most_common():
        print(f"{number:5} {sentence}")
    print(f"the good study beside them is {'answered' if answered else 'NOT answered'}; studies {dict(states)}")
    print(f"in the place of a good image, read as the worker reads a study: {dict(read)};")
    print(f"peak memory {before:.0f} MB before, {after:.0f} MB after")
    if not answered or sum(refusals.values()) != count or any(one.startswith("failed") for one in read):
        raise SystemExit("FAILED")


def _read(images: Path) -> str:
    try:
        identify(images)
    except GliomaSegError:
        return "refused with a sentence"
    except Exception as error:
        return f"failed by {type(error).__name__}"
    return "read"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

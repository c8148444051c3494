"""The studies of a node and their states, in an SQLite database that stays consistent when the process is killed.

Every change is one transaction. A change of state is made only if revision and state of the study are still those that
the caller read: a late image starts a new revision of the study, which ends the work on the old one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, cast

from GliomaSegLib.dicom_node.storage import StorageError

_VERSION = 1
_SCHEMA = """
CREATE TABLE studies (
    key TEXT PRIMARY KEY, uid TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL, revision INTEGER NOT NULL,
    images INTEGER NOT NULL DEFAULT 0, plan TEXT NOT NULL DEFAULT '{}', rule TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '', sentence TEXT NOT NULL DEFAULT '', notes TEXT NOT NULL DEFAULT '[]',
    broken_off INTEGER NOT NULL DEFAULT 0, cleared INTEGER NOT NULL DEFAULT 0, starts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, arrived REAL NOT NULL, changed REAL NOT NULL, turn INTEGER NOT NULL);
CREATE INDEX by_state ON studies (state, turn);
CREATE TABLE deliveries (key TEXT, revision INTEGER, file TEXT, PRIMARY KEY (key, revision, file));
CREATE TABLE cases (key TEXT, revision INTEGER, finished REAL, record TEXT, PRIMARY KEY (key, revision));
CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT);
"""

Origin = Literal["dicom", "orthanc"]
"""How a study was received: by C-STORE or from an Orthanc server."""


class State(str, Enum):
    """The state of a study."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    RUNNING = "running"
    SENDING = "sending"
    ANSWERED = "answered"
    IGNORED = "ignored"  # a rule says so
    UNMATCHED = "unmatched"  # no rule fits
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # its images were deleted before it was answered


SETTLED = (State.ANSWERED, State.IGNORED, State.UNMATCHED, State.FAILED, State.WITHDRAWN)
"""The final states: only an image, late or again, or ``serve --again`` leads out of them."""


@dataclass(frozen=True)
class Study:
    """A row of the table.

    Attributes:
        key: the study's pseudonym.
        uid: Study Instance UID; never to be shown.
        revision: from 1; a late image starts the next one.
        images: the number of images when it was last complete.
        plan: fields of the job and kinds of DICOM objects to send, from the rule.
        rule, reason: name of the rule that fits, and why.
        sentence: what went wrong, or what it waits for.
        notes: further sentences for the user.
        broken_off: its sender aborted its association and has not come back.
        cleared: its images were deleted to make room.
        starts, failures: how often processing of this revision was started, and failed.
        arrived, changed: Unix time in seconds, for display only.
        turn: a number that grows with every change of state in the table, for the order of processing.
    """

    key: str
    uid: str
    origin: Origin
    state: State
    revision: int
    images: int
    plan: dict[str, Any]
    rule: str
    reason: str
    sentence: str
    notes: tuple[str, ...]
    broken_off: bool
    cleared: bool
    starts: int
    failures: int
    arrived: float
    changed: float
    turn: int


@dataclass(frozen=True)
class FinishedCase:
    """Figures of a case for :mod:`GliomaSegLib.dicom_node.drift`; ``finished`` is Unix time in seconds."""

    key: str
    revision: int
    finished: float
    record: dict[str, Any]


class Queue:
    """The database in the file ``path``, which is created if it does not exist; thread-safe.

    Every method raises :class:`~GliomaSegLib.dicom_node.storage.StorageError` when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self.open()

    def open(self) -> None:
        """Open the file, or open it again. A row that cannot be parsed becomes a failed study."""
        with self._lock, _as_storage_error(self._path):
            self.close()
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            # The default rollback journal, as WAL does not work on network disks; FULL: a commit has reached the disk.
            connection.execute("PRAGMA synchronous = FULL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                connection.close()
                raise StorageError(f"{self._path} was made by another version of GliomaSeg ({version}); update.")
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            _mend_rows(connection)
            self._connection = connection

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- studies ----------------------------------------------------------------------------------------------------

    def arrived(self, key: str, uid: str, origin: Origin, now: float, revision: int = 1) -> Study:
        """An image has arrived: insert its study, or start a new revision of it unless it is arriving already.

        Args:
            revision: the first one of a new study.
        """
        with self._transaction() as database:
            study = self._of(database, key)
            if study is None:
                database.execute(
                    "INSERT INTO studies (key, uid, origin, state, revision, arrived, changed, turn)"
                    f" VALUES (?, ?, ?, ?, ?, ?, ?, {_TURN})",
                    (key, uid, origin, State.ARRIVING.value, revision, now, now),
                )
            elif study.state is not State.ARRIVING:
                database.execute(
                    f"UPDATE studies SET state = ?, revision = revision + 1, changed = ?, turn = {_TURN}, starts = 0,"
                    " failures = 0, plan = '{}', rule = '', reason = '', sentence = '' WHERE key = ?",
                    (State.ARRIVING.value, now, key),
                )
            else:
                return study
            return cast(Study, self._of(database, key))

    def move(self, study: Study, state: State, now: float, **fields: Any) -> Study | None:
        """Bring a study into ``state`` and set other columns with it.

        Returns:
            the changed study; ``None`` and no change if its revision or state is no longer that of ``study``.
        """
        columns = {"state": state.value, "changed": now} | fields
        columns = {name: json.dumps(value) if name in _JSON else value for name, value in columns.items()}
        assigned = ", ".join(f"{name} = ?" for name in columns)
        with self._transaction() as database:
            done = database.execute(
                f"UPDATE studies SET {assigned}, turn = {_TURN} WHERE key = ? AND revision = ? AND state = ?",
                (*columns.values(), study.key, study.revision, study.state.value),
            )
            return self._of(database, study.key) if done.rowcount else None

    def send_again(self, study: Study, now: float) -> Study | None:
        """Bring an answered study back into the state ``arriving``, with its answer as if it had not been sent; see
        :meth:`move`."""
        with self._transaction() as database:
            database.execute("DELETE FROM deliveries WHERE key = ? AND revision = ?", (study.key, study.revision))
        return self.move(study, State.ARRIVING, now)

    def sender_aborted(self, key: str, aborted: bool) -> None:
        """Record whether the study's sender aborted its association."""
        with self._transaction() as database:
            database.execute("UPDATE studies SET broken_off = ? WHERE key = ?", (int(aborted), key))

    def note(self, key: str, sentence: str) -> bool:
        """Add a sentence to the study's notes, once; whether it was added."""
        with self._transaction() as database:
            study = self._of(database, key)
            if study is None or sentence in study.notes:
                return False
            notes = json.dumps([*study.notes, sentence])
            database.execute("UPDATE studies SET notes = ? WHERE key = ?", (notes, key))
            return True

    def cleared(self, study: Study) -> bool:
        """Record that the study's images are to be deleted; ``False`` and no change if an image has come meanwhile."""
        with self._transaction() as database:
            done = database.execute(
                "UPDATE studies SET cleared = 1 WHERE key = ? AND revision = ? AND state = ?",
                (study.key, study.revision, study.state.value),
            )
            return bool(done.rowcount)

    def study(self, key: str) -> Study | None:
        """One study."""
        with self._transaction() as database:
            return self._of(database, key)

    def studies(
        self,
        states: Collection[State] = tuple(State),
        most: int = -1,
        latest: bool = False,
        with_images: bool = False,
    ) -> list[Study]:
        """The studies in one of ``states``, by ``turn``.

        Args:
            most: how many at most; -1 for all.
            latest: in descending order.
            with_images: only those whose images have not been deleted.
        """
        marks, kept = ", ".join("?" * len(states)), " AND cleared = 0" if with_images else ""
        order = "DESC" if latest else "ASC"
        with self._transaction() as database:
            rows = database.execute(
                f"SELECT * FROM studies WHERE state IN ({marks}){kept} ORDER BY turn {order} LIMIT ?",
                (*(state.value for state in states), most),
            )
            return [_study(row) for row in rows]

    def counts(self) -> dict[State, int]:
        """How many studies there are in each state."""
        with self._transaction() as database:
            found = dict(database.execute("SELECT state, count(*) FROM studies GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in State}

    # --- data of a revision of a study ------------------------------------------------------------------------------

    def delivered(self, study: Study) -> set[str]:
        """The files of the answer that the archive has accepted."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT file FROM deliveries WHERE key = ? AND revision = ?", (study.key, study.revision)
            )
            return {row["file"] for row in rows}

    def deliver(self, study: Study, files: Iterable[str]) -> None:
        """Record that the archive has accepted these files."""
        with self._transaction() as database:
            rows = [(study.key, study.revision, file) for file in files]
            database.executemany("INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?)", rows)

    def finish(self, study: Study, record: dict[str, Any], now: float) -> None:
        """Store the figures of a finished case."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?)",
                (study.key, study.revision, now, json.dumps(record)),
            )

    def cases(self) -> list[FinishedCase]:
        """The figures of all finished cases, by time."""
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM cases ORDER BY finished").fetchall()
        return [FinishedCase(row["key"], row["revision"], row["finished"], json.loads(row["record"])) for row in rows]

    # --- other values that are kept ---------------------------------------------------------------------------------

    def remember(self, name: str, value: str) -> None:
        """Store a value."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        """A stored value; ``None`` if there is none."""
        with self._transaction() as database:
            row = database.execute("SELECT value FROM remembered WHERE name = ?", (name,)).fetchone()
            return row["value"] if row else None

    @staticmethod
    def _of(database: sqlite3.Connection, key: str) -> Study | None:
        row = database.execute("SELECT * FROM studies WHERE key = ?", (key,)).fetchone()
        return _study(row) if row else None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _as_storage_error(self._path):
            if self._connection is None:
                raise StorageError(f"The queue {self._path} is closed, as its storage is gone.")
            database = self._connection
            database.execute("BEGIN")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise


_UNREADABLE_ROW = "Its row in the queue cannot be read; start the node with --again to process it again."
_TURN = "(SELECT coalesce(max(turn), 0) + 1 FROM studies)"
_JSON = ("plan", "notes")


def _study(row: sqlite3.Row) -> Study:
    values = dict(row)
    values |= {
        "state": State(values["state"]),
        "plan": json.loads(values["plan"]),
        "notes": tuple(json.loads(values["notes"])),
        "broken_off": bool(values["broken_off"]),
        "cleared": bool(values["cleared"]),
    }
    return Study(**values)


def _mend_rows(database: sqlite3.Connection) -> None:
    """Mark studies as failed whose row cannot be parsed, as after a damage of the disk."""
    for row in database.execute("SELECT * FROM studies").fetchall():
        try:
            _study(row)
        except (ValueError, TypeError):
            database.execute(
                "UPDATE studies SET state = ?, plan = '{}', notes = '[]', sentence = ? WHERE key = ?",
                (State.FAILED.value, _UNREADABLE_ROW, row["key"]),
            )
    for row in database.execute("SELECT key, revision, record FROM cases").fetchall():
        if not _is_record(row["record"]):
            database.execute("DELETE FROM cases WHERE key = ? AND revision = ?", (row["key"], row["revision"]))


def _is_record(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, TypeError):
        return False


def is_sound(path: Path) -> bool:
    """Whether the file of a queue exists and is not damaged."""
    try:
        queue = Queue(path)
    except StorageError:
        return False
    try:
        with queue._transaction() as database:
            return [row[0] for row in database.execute("PRAGMA integrity_check")] == ["ok"]
    except StorageError:
        return False
    finally:
        queue.close()


def move_aside(path: Path, now: float) -> Path | None:
    """Rename the file of a damaged queue, so that a new one will be made; its new name, ``None`` if there is none.

    Raises:
        StorageError: it cannot be renamed.
    """
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.damaged-{now:.0f}")
    try:
        path.rename(aside)
        journal = path.with_name(f"{path.name}-journal")
        if journal.exists():
            journal.rename(aside.with_name(f"{aside.name}-journal"))
    except OSError as error:
        raise StorageError(f"The queue {path} cannot be renamed ({error.strerror}).") from error
    return aside


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        remedy = ""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            remedy = (
                " It is damaged: 'gliomaseg serve CONFIG --repair' moves it aside and makes a new one from the images, "
                "whose studies are then processed again and sent under the UIDs that they had."
            )
        raise StorageError(f"The queue {path} cannot be used ({error}).{remedy}") from error

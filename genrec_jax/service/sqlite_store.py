# SPDX-License-Identifier: Apache-2.0
"""The store of the house: one SQLite file, for one service at a time.

    with SqliteStore("runs/a/events.sqlite") as store: ...

An event is acknowledged once its transaction is on the disk (write-ahead log,
synchronous=FULL), so neither a killed process nor a lost machine takes it back;
a restart reads the file, and nothing has to be replayed. Reads have their own
connection and wait for no write. A second service on the same file is refused
while the first one lives (a lock of the operating system on FILE.lock, which
goes with its process, however that ends; on file systems without such locks,
as some network ones are, keep them apart yourself).

Who is deleted is deleted: rows are overwritten (secure_delete) and the log is
cut. What stays of a user is a digest under the store's own key, by which the
history that the model was trained on is known to be hidden, and digests of the
events' ids, so that one that is sent again is a duplicate. Of who had as many
events as are kept there is also the time of the oldest: older ones were there
once, whose ids nobody has any more, and they are duplicates too.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import sqlite3
import threading
from typing import IO

from genrec_jax.service.store import (
  ACCEPTED,
  CONFLICT,
  DUPLICATE,
  TOO_OLD,
  Event,
  ItemState,
  NotStored,
  Told,
)

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value BLOB)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  event_id TEXT PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL,
  action TEXT NOT NULL, microseconds INTEGER NOT NULL, value REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_user ON events (user, microseconds, event_id);
CREATE TABLE IF NOT EXISTS gone (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (
  digest BLOB PRIMARY KEY, until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
  item TEXT PRIMARY KEY, dead INTEGER NOT NULL, attributes TEXT NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "event_id, user, item, action, microseconds, value"
# Names of SQLite's errors that mean that it cannot write here and now.
_REFUSED = (
  "SQLITE_FULL",
  "SQLITE_IOERR",
  "SQLITE_READONLY",
  "SQLITE_CANTOPEN",
  "SQLITE_BUSY",
)
_PAGE_BYTES = 4096
# Before all times.
_NEVER = -(2**63)
_BUSY_SECONDS = 10.0


class SqliteStore:
  """See the module docstring and EventStore.

  Attributes:
    path: of the file.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    *,
    most_events: int = 5000,
    most_bytes: int | None = None,
  ):
    """Opens the file, or makes it.

    Args:
      path: of it.
      most_events: that are kept of a user, the latest ones.
      most_bytes: of the file, beyond which writes are refused; None = the
        disk's end.

    Raises:
      ValueError: another service has it, it is no such file, or it cannot be
        opened.
    """
    if most_events < 1:
      raise ValueError(f"most_events={most_events} must be at least 1.")
    self.path = pathlib.Path(path)
    self._most_events = most_events
    self._writing, self._reading = threading.RLock(), threading.RLock()
    self._stack = contextlib.ExitStack()
    try:
      self._stack.callback(_locked(self.path).close)
      self._write = self._connected()
      self._write.execute("PRAGMA journal_mode=WAL")
      self._write.execute("PRAGMA synchronous=FULL")
      self._write.execute("PRAGMA secure_delete=ON")
      self._write.executescript(_TABLES)
      if most_bytes is not None:
        pages = max(1, most_bytes // _PAGE_BYTES)
        self._write.execute(f"PRAGMA max_page_count={pages}")
      self._key = self._about("key", secrets.token_bytes(32))
      version = int(self._about("version", b"%d" % _VERSION))
      self._read = self._connected()
    except (sqlite3.Error, OSError) as error:
      self._stack.close()
      raise ValueError(
        f"the store {self.path} cannot be opened ({error}): name another file"
        " with --store, or make room for it."
      ) from error
    except ValueError:
      self._stack.close()
      raise
    if version != _VERSION:
      self._stack.close()
      raise ValueError(
        f"the store {self.path} has version {version}, this code reads"
        f" {_VERSION}."
      )

  def __enter__(self) -> "SqliteStore":
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def append(self, events: Sequence[Event]) -> list[str]:
    """See EventStore."""
    with self._transaction() as rows:
      outcomes = [self._insert(rows, event) for event in events]
      for user in {event.user for event in events}:
        self._trim(rows, user)
      for place, event in enumerate(events):
        if outcomes[place] == ACCEPTED and not _there(rows, event):
          outcomes[place] = TOO_OLD
    return outcomes

  def history(self, user: str) -> Told:
    """See EventStore."""
    with self._reading:
      found = self._read.execute(
        f"SELECT {_COLUMNS} FROM events WHERE user = ?"
        " ORDER BY microseconds, event_id",
        (user,),
      ).fetchall()
      hidden = self._read.execute(
        "SELECT 1 FROM forgotten WHERE digest = ?", (self._digest(user),)
      ).fetchone()
    return Told(tuple(Event(*row) for row in found), hidden is not None)

  def forget(self, user: str) -> int:
    """See EventStore."""
    with self._transaction() as rows:
      found = rows.execute(
        "SELECT event_id, microseconds FROM events WHERE user = ?"
        " ORDER BY microseconds",
        (user,),
      ).fetchall()
      until = found[0][1] if len(found) >= self._most_events else _NEVER
      # First, so that there is room for the rest on a full disk.
      rows.execute("DELETE FROM events WHERE user = ?", (user,))
      rows.executemany(
        "INSERT OR IGNORE INTO gone VALUES (?)",
        [(self._digest(event_id),) for event_id, _ in found],
      )
      rows.execute(
        "INSERT INTO forgotten VALUES (?, ?) ON CONFLICT (digest) DO UPDATE"
        " SET until = max(until, excluded.until)",
        (self._digest(user), until),
      )
    # The log still has what was deleted.
    with self._writing, contextlib.suppress(sqlite3.Error):
      self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(found)

  def put_items(self, states: Mapping[str, ItemState]) -> None:
    """See EventStore."""
    with self._transaction() as rows:
      rows.executemany(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?)",
        [
          (item, int(state.dead), json.dumps(dict(state.attributes)))
          for item, state in states.items()
        ],
      )

  def items(self) -> dict[str, ItemState]:
    """See EventStore."""
    with self._reading:
      found = self._read.execute(
        "SELECT item, dead, attributes FROM items"
      ).fetchall()
    return {
      item: ItemState(bool(dead), json.loads(attributes))
      for item, dead, attributes in found
    }

  def close(self) -> None:
    """See EventStore."""
    with self._writing, self._reading:
      self._stack.close()

  def _connected(self) -> sqlite3.Connection:
    found = sqlite3.connect(
      self.path,
      timeout=_BUSY_SECONDS,
      isolation_level=None,
      check_same_thread=False,
    )
    self._stack.callback(found.close)
    return found

  def _about(self, name: str, value: bytes) -> bytes:
    """What the file says of itself; what it is told, where it is new."""
    self._write.execute(
      "INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value)
    )
    (found,) = self._write.execute(
      "SELECT value FROM about WHERE name = ?", (name,)
    ).fetchone()
    return found

  @contextlib.contextmanager
  def _transaction(self) -> Iterator[sqlite3.Connection]:
    """All of it or nothing.

    Raises:
      NotStored: it cannot be written.
    """
    with self._writing:
      try:
        self._write.execute("BEGIN IMMEDIATE")
        yield self._write
        self._write.execute("COMMIT")
      except BaseException as error:
        # Some errors have ended the transaction by themselves.
        if self._write.in_transaction:
          self._write.execute("ROLLBACK")
        if _is_refusal(error):
          raise NotStored(f"{self.path} takes no writes: {error}") from error
        raise

  def _insert(self, rows: sqlite3.Connection, event: Event) -> str:
    gone = rows.execute(
      "SELECT 1 FROM gone WHERE digest = ? UNION ALL"
      " SELECT 1 FROM forgotten WHERE digest = ? AND until >= ?",
      (
        self._digest(event.event_id),
        self._digest(event.user),
        event.microseconds,
      ),
    ).fetchone()
    if gone is not None:
      return DUPLICATE
    values = _values(event)
    done = rows.execute(
      "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", values
    )
    if done.rowcount:
      return ACCEPTED
    there = rows.execute(
      f"SELECT {_COLUMNS} FROM events WHERE event_id = ?", (event.event_id,)
    ).fetchone()
    return DUPLICATE if there == values else CONFLICT

  def _trim(self, rows: sqlite3.Connection, user: str) -> None:
    """Removes all but the latest events of a user."""
    rows.execute(
      "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events"
      " WHERE user = ? ORDER BY microseconds DESC, event_id DESC"
      " LIMIT -1 OFFSET ?)",
      (user, self._most_events),
    )

  def _digest(self, text: str) -> bytes:
    return hashlib.blake2b(
      text.encode(), key=self._key, digest_size=16
    ).digest()


def _values(event: Event) -> tuple:
  """As a row holds them: a whole value comes back as a float."""
  value = None if event.value is None else float(event.value)
  return (
    *(event.event_id, event.user, event.item, event.action),
    *(event.microseconds, value),
  )


def _there(rows: sqlite3.Connection, event: Event) -> bool:
  found = rows.execute(
    "SELECT 1 FROM events WHERE event_id = ?", (event.event_id,)
  ).fetchone()
  return found is not None


def _is_refusal(error: BaseException) -> bool:
  # Only errors of the library itself have a name.
  return isinstance(error, sqlite3.Error) and vars(error).get(
    "sqlite_errorname", ""
  ).startswith(_REFUSED)


def _locked(path: pathlib.Path) -> IO[str]:
  """A file that this process alone has locked.

  Raises:
    ValueError: another one has it.
  """
  # Not on every system, and a user's own store does without.
  import fcntl

  file = open(path.with_name(f"{path.name}.lock"), "a+", encoding="utf-8")
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    file.seek(0)
    holder = file.read().strip() or "unknown"
    file.close()
    raise ValueError(
      f"the store {path} is in use by another service (process {holder}): two"
      " would not know of each other's users. Stop it, or name another file"
      " with --store."
    ) from None
  file.truncate(0)
  file.write(f"{os.getpid()}\n")
  file.flush()
  return file

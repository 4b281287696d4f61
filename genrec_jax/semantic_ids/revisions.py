# SPDX-License-Identifier: Apache-2.0
"""The append-only history of a table, and what each revision changed.

    history.jsonl           one JSON object per revision
    revisions/000001.npz    item_ids, and codes unless items were retired

A line holds the hash of the line before and of its revision's content, so that
a history that was changed, or a revision of another table, is noticed; a line
has a checksum as well. The file of a revision is written first and the history
replaced last: a process that dies between the two has changed nothing. Writers
take turns by a lock.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import datetime
import fcntl
import hashlib
import json
import pathlib
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core import artifact, atomic, sealed

HISTORY = "history.jsonl"
FOLDER = "revisions"


def line_hash(entry: Mapping[str, Any]) -> str:
  """Names a history entry and, through it, all before it."""
  return hashlib.sha256(_line(entry).encode()).hexdigest()[:16]


def read_history(directory: pathlib.Path) -> list[dict[str, Any]]:
  """All entries, oldest first.

  Raises:
    ValueError: missing, empty, damaged, or not as it was written.
  """
  path = directory / HISTORY
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
  except (OSError, ValueError) as e:
    raise ValueError(f"{path} is missing or damaged ({e}).") from e
  if not entries:
    raise ValueError(f"{path} is empty.")
  before, fix = "", "Bring a copy of the table back, or make it again."
  for number, entry in enumerate(entries, 1):
    if not isinstance(entry, dict):
      raise ValueError(f"line {number} of {path} is damaged. {fix}")
    if entry.get("revision") != number or entry.get("previous") != before:
      raise ValueError(
        f"line {number} of {path} does not follow from the one before: the"
        " history is append-only, and was changed."
      )
    before = line_hash(entry)
  # The last line has none behind it that would tell.
  sealed.unseal(entries[-1], path, fix)
  return entries


def read(
  directory: pathlib.Path, entry: Mapping[str, Any]
) -> tuple[list[str], Int[np.ndarray, "N M"] | None]:
  """Item ids of a revision, and their codes unless they were retired.

  Raises:
    ValueError: missing, damaged, or not what the history describes.
  """
  path = directory / FOLDER / _name(entry)
  arrays = artifact.load_arrays(path)
  if _content(arrays) != entry["content"]:
    raise ValueError(f"{path} is not what {HISTORY} describes.")
  return arrays["item_ids"].tolist(), arrays.get("codes")


def append(
  directory: pathlib.Path,
  history: Sequence[Mapping[str, Any]],
  kind: str,
  item_ids: Sequence[str],
  codes_NM: Int[np.ndarray, "N M"] | None,
  vectors_version: str | None,
) -> None:
  """Writes a revision's file, and then the history with one line more.

  Args:
    directory: the table's folder.
    history: what it is now.
    kind: 'made', 'assigned' or 'retired'.
    item_ids: what changes.
    codes_NM: their codes; None for retired ones.
    vectors_version: of the vectors that were coded.
  """
  arrays = {"item_ids": np.array(item_ids, str)}
  if codes_NM is not None:
    arrays["codes"] = codes_NM
  now = datetime.datetime.now(datetime.UTC)
  entry = sealed.seal(
    {
      "revision": len(history) + 1,
      "kind": kind,
      "items": len(item_ids),
      "time": now.isoformat(timespec="seconds"),
      "vectors": vectors_version,
      "content": _content(arrays),
      "previous": line_hash(history[-1]) if history else "",
    }
  )
  (directory / FOLDER).mkdir(exist_ok=True)
  artifact.save_arrays(directory / FOLDER / _name(entry), arrays)
  text = "".join(_line(e) + "\n" for e in [*history, entry])
  atomic.write_text(directory / HISTORY, text)


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
  """Keeps other processes of this host from appending."""
  with open(directory / ".lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _line(entry: Mapping[str, Any]) -> str:
  return json.dumps(entry, sort_keys=True, ensure_ascii=False)


def _name(entry: Mapping[str, Any]) -> str:
  return f"{entry['revision']:06d}.npz"


def _content(arrays: Mapping[str, np.ndarray]) -> str:
  codes = arrays.get("codes")
  ids = arrays["item_ids"].tolist()
  return artifact.content_hash(ids, *([] if codes is None else [codes]))

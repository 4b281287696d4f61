# SPDX-License-Identifier: Apache-2.0
"""Which version of a model answers whom.

    versions.add(Version("v2", ...))         loaded: who names it is answered
    versions.promote("v2", share=0.1)        a tenth of all users
    versions.promote("v2")                   everybody
    versions.rollback("v2")                  as before that promotion

A user's version follows from a hash of the id, so that it is the same at every
request as long as shares stay. The versions of the shares before stay loaded:
to roll back loads nothing.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import math
import threading
from typing import Any

from genrec_jax.service.asker import Asker
from genrec_jax.service.golden import GoldenAnswer
from genrec_jax.service.opening import Source
from genrec_jax.service.refused import Refused
from genrec_jax.service.served import Served

# Promotions that can be taken back, one after the other.
_REMEMBERED = 16


@dataclasses.dataclass(frozen=True)
class Version:
  """A model that is compiled, and has answered what it must.

  Attributes:
    name: by which answers and callers name it.
    served: the model.
    asker: makes its asks.
    source: where it comes from.
    parity: largest difference of a golden score; None where there was nothing
      to compare.
    golden: what it has answered, and must again when it is promoted.
    identity: of the run, as lists that are made ahead name it; "" = of none.
  """

  name: str
  served: Served
  asker: Asker
  source: Source
  parity: float | None
  golden: Sequence[GoldenAnswer] = ()
  identity: str = ""


class Versions:
  """See the module docstring."""

  def __init__(self, most_loaded: int = 4):
    """Args: most_loaded: beyond which the oldest that is not needed goes."""
    self._most = most_loaded
    self._lock = threading.RLock()
    self._loaded: dict[str, Version] = {}
    self._shares: dict[str, float] = {}
    # Who was promoted, and the shares before that.
    self._before: list[tuple[str, dict[str, float]]] = []

  def add(self, version: Version) -> list[str]:
    """Takes a version; names of those that are gone for it.

    Raises:
      Refused: its name is taken, or all that are loaded are needed.
    """
    with self._lock:
      gone = self.gone_for(version.name)
      for name in gone:
        del self._loaded[name]
      self._loaded[version.name] = version
    return gone

  def gone_for(self, name: str) -> list[str]:
    """Who would go if a version of this name were added; raises as `add`."""
    with self._lock:
      if name in self._loaded:
        raise Refused(409, "loaded", f"version {name!r} is loaded.")
      kept = {*self._shares, *(self._before[-1][1] if self._before else ())}
      free = [other for other in self._loaded if other not in kept]
      over = max(0, len(self._loaded) + 1 - self._most)
      if over > len(free):
        raise Refused(
          409,
          "too_many",
          f"{len(self._loaded)} versions are loaded and in use, as many as may"
          " be.",
        )
      return free[:over]

  def get(self, name: str) -> Version:
    """A loaded version; a Refused of 404 where there is none."""
    with self._lock:
      if name not in self._loaded:
        raise Refused(
          404,
          "unknown_model",
          f"no version {name!r} is loaded; there are"
          f" {', '.join(self._loaded) or 'none'}.",
        )
      return self._loaded[name]

  def of(self, user: str) -> Version:
    """Who answers a user; a Refused of 503 where nobody does yet."""
    with self._lock:
      if not self._shares:
        raise Refused(503, "not_ready", "no model answers yet: ask later.", 1.0)
      point, reached = _point(user), 0.0
      for name, share in self._shares.items():
        reached += share
        if point < reached:
          return self._loaded[name]
      return self._loaded[name]

  def promote(self, name: str, share: float = 1.0) -> None:
    """Gives a version a share of the users; the others keep their proportions.

    What is said again is no promotion: there is nothing of it to take back.

    Raises:
      Refused: it is not loaded, or nobody has the rest.
    """
    with self._lock:
      self.get(name)
      others = {n: s for n, s in self._shares.items() if n != name}
      rest = sum(others.values())
      if share < 1.0 and not rest:
        raise Refused(
          409,
          "no_rest",
          f"share={share:g} leaves users to no version: promote it whole.",
        )
      shares = {}
      if share < 1.0:
        shares = {n: s / rest * (1.0 - share) for n, s in others.items()}
      shares[name] = share
      if _equal(shares, self._shares):
        return
      self._before = [*self._before, (name, self._shares)][-_REMEMBERED:]
      self._shares = shares

  def rollback(self, name: str) -> None:
    """The shares before the last promotion, which was of this version.

    Raises:
      Refused: it was of another one, or there were no shares before.
    """
    with self._lock:
      if not self._before or not self._before[-1][1]:
        raise Refused(409, "no_before", "there is nothing to roll back to.")
      last, shares = self._before[-1]
      if name != last:
        raise Refused(
          409,
          "not_last",
          f"the last promotion is of {last!r}, not of {name!r}.",
        )
      gone = [n for n in shares if n not in self._loaded]
      if gone:
        raise Refused(409, "gone", f"{', '.join(gone)}: not loaded any more.")
      self._before.pop()
      self._shares = shares

  def shares(self) -> Mapping[str, float]:
    """Versions that answer, and whom."""
    with self._lock:
      return dict(self._shares)

  def loaded(self) -> list[Version]:
    """All that may be asked by name."""
    with self._lock:
      return [*self._loaded.values()]

  def told(self, *, sources: bool) -> list[dict[str, Any]]:
    """What is loaded and whom it answers, for JSON.

    Args:
      sources: say where versions come from, which are paths of this machine.
    """
    with self._lock:
      return [
        {
          "name": version.name,
          "catalogue": version.served.catalogue,
          "share": self._shares.get(version.name, 0.0),
          "parity": version.parity,
          **(dataclasses.asdict(version.source) if sources else {}),
        }
        for version in self._loaded.values()
      ]


def _equal(one: Mapping[str, float], two: Mapping[str, float]) -> bool:
  return one.keys() == two.keys() and all(
    math.isclose(share, two[name]) for name, share in one.items()
  )


def _point(user: str) -> float:
  """A user's place in [0, 1)."""
  digest = hashlib.blake2b(user.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "big") / 2**64

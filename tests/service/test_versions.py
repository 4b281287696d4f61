# SPDX-License-Identifier: Apache-2.0
"""Which version answers whom: shares, stickiness, rollback."""

import types

import pytest

from genrec_jax.service.asker import Asker
from genrec_jax.service.opening import Source
from genrec_jax.service.refused import Refused
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.versions import Version, Versions
from tests.service.fakes import served

_USERS = [f"user {n}" for n in range(4000)]


@pytest.fixture(scope="module")
def make(tmp_path_factory):
  with SqliteStore(tmp_path_factory.mktemp("store") / "store") as store:
    model = served()
    asker = Asker(model, store)
    yield lambda name: Version(name, model, asker, Source("w"), 0.0)


def _counts(versions):
  found = types.SimpleNamespace(of={})
  for user in _USERS:
    found.of[user] = versions.of(user).name
  names = list(found.of.values())
  return found.of, {n: names.count(n) / len(names) for n in set(names)}


def test_shares_are_kept_and_users_stay(make):
  versions = Versions()
  for name in "abc":
    versions.add(make(name))
  with pytest.raises(Refused) as refused:
    versions.of("u")
  assert refused.value.status == 503
  with pytest.raises(Refused, match="promote it whole"):
    versions.promote("a", 0.5)
  versions.promote("a")
  versions.promote("b", 0.2)
  first, shares = _counts(versions)
  assert shares == pytest.approx({"a": 0.8, "b": 0.2}, abs=0.03)
  assert _counts(versions)[0] == first
  versions.promote("c", 0.5)
  second, shares = _counts(versions)
  assert shares == pytest.approx({"a": 0.4, "b": 0.1, "c": 0.5}, abs=0.03)
  for other in "ab":
    with pytest.raises(Refused, match="last promotion is of 'c'"):
      versions.rollback(other)
  # Said again it is no promotion, and hides none.
  versions.promote("c", 0.5)
  versions.rollback("c")
  assert _counts(versions)[0] == first
  versions.rollback("b")
  assert _counts(versions)[1] == {"a": 1.0}
  with pytest.raises(Refused) as refused:
    versions.rollback("a")
  assert refused.value.status == 409


def test_a_user_has_one_version_in_every_process(make):
  versions = Versions()
  for name in "ab":
    versions.add(make(name))
  versions.promote("a")
  versions.promote("b", 0.5)
  found = "".join(versions.of(user).name for user in _USERS[:24])
  # Another text here means that users change versions at an update.
  assert found == "bbabaabababaabbbbabbbaaa"


def test_a_promotion_that_is_said_again_keeps_the_one_before_loaded(make):
  versions = Versions(most_loaded=2)
  for name in "ab":
    versions.add(make(name))
    versions.promote(name)
  versions.promote("b")
  with pytest.raises(Refused, match="in use"):
    versions.gone_for("c")
  versions.rollback("b")
  assert versions.shares() == {"a": 1.0}


def test_what_is_needed_stays_loaded(make):
  versions = Versions(most_loaded=2)
  versions.add(make("a"))
  versions.promote("a")
  assert versions.add(make("b")) == []
  # b answers nobody: it goes first.
  assert versions.add(make("c")) == ["b"]
  versions.promote("c")
  with pytest.raises(Refused, match="in use"):
    versions.add(make("d"))
  with pytest.raises(Refused) as refused:
    versions.get("b")
  assert refused.value.status == 404
  with pytest.raises(Refused, match="is loaded"):
    versions.add(make("a"))

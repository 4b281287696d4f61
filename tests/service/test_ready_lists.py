# SPDX-License-Identifier: Apache-2.0
"""Lists that were made ahead: when they answer, and what they say."""

import time

import polars as pl
import pytest

from genrec_jax.service.made_ahead import ReadyOptions
from genrec_jax.service.opening import Source
from genrec_jax.service.ready_lists import ListFile
from genrec_jax.serving.list_facts import ListFacts
from genrec_jax.serving.table_file import TableFile
from tests.service import fakes
from tests.service.fakes import NUM_ITEMS, expected, ids_of


def _write(table, path, seconds_ago=0, unknown=5000, model=""):
  """Lists that were made then, of data that ends before that."""
  made = time.time() - seconds_ago
  with TableFile(path) as file:
    file.tell(ListFacts(made, float(int(made) - unknown), model).texts())
    file.write(table)
  return path


@pytest.fixture
def path(tmp_path, known):
  """Lists of the users 0 to 2, twelve unseen items in descending order; user 3
  has popular ones."""
  users, ids, data = known
  rows = []
  for place in (2, 0, 3, 1):
    seen = {*data[place]["item"].tolist()}
    unseen = [v for v in range(NUM_ITEMS, 0, -1) if v not in seen][:12]
    source = "popular" if place == 3 else "model"
    rows += [
      (users[place], rank, ids[v], float(v), source)
      for rank, v in enumerate(unseen, 1)
    ]
  columns = ("user_id", "rank", "item_id", "score", "source")
  table = pl.DataFrame(rows, schema=columns, orient="row")
  # Whatever the order of the rows is.
  table = table.sample(fraction=1.0, shuffle=True, seed=1)
  return _write(table, tmp_path / "lists.parquet")


def test_a_file_is_lists_by_user(path, known, tmp_path):
  users, ids, data = known
  lists = ListFile(path)
  assert len(lists) == 3 and lists.of(users[3]) is None
  assert lists.of("nobody") is None
  table = pl.read_parquet(path)
  for place in range(3):
    mine = table.filter(user_id=users[place]).sort("rank")
    found = lists.of(users[place])
    assert [*found.items] == mine["item_id"].to_list()
    assert [*found.scores] == mine["score"].to_list()
    assert found.version == lists.version
    assert found.made == lists.facts.made == pytest.approx(time.time(), abs=600)
    assert found.known == int(found.made) - 5000 and found.model == ""
  other = tmp_path / "other.parquet"
  _write(table.with_columns(score=pl.col("score") + 1), other)
  assert ListFile(other).version != lists.version
  table.drop("rank").write_parquet(other)
  with pytest.raises(ValueError, match="no column rank"):
    ListFile(other)
  for wrong in (tmp_path / "none.parquet", fakes.STORED / "config.json"):
    with pytest.raises(ValueError, match="cannot be read as lists"):
      ListFile(wrong)
  # What genrec recommend --as_of writes: a list of each withheld event.
  pl.concat([table, table]).write_parquet(other)
  with pytest.raises(ValueError, match="several items of user .* at one rank"):
    ListFile(other)
  # When a file was written is no word about what its lists know.
  table.write_parquet(other)
  with pytest.raises(ValueError, match="does not say when .* genrec recommend"):
    ListFile(other)
  _write(table.clear(), other)
  assert len(ListFile(other)) == 0
  assert ReadyOptions().most_seconds == 86_400
  with pytest.raises(ValueError, match="0 or more"):
    ReadyOptions(-1.0)


def _outcomes(service):
  name = "genrec_ready_lists_total"
  found = {}
  for outcome in ("used", "none", "old", "newer", "other", "short"):
    value = service.metrics.registry.get_sample_value(
      name, {"outcome": outcome}
    )
    found[outcome] = int(value or 0)
  return found


def test_plain_questions_are_answered_by_the_list(make, path, known):
  users, ids, data = known
  service, client = make(ready=ListFile(path))
  table = pl.read_parquet(path).filter(user_id=users[1]).sort("rank")
  theirs = table["item_id"].to_list()
  answer = client.recommend(user_id=users[1], k=5)
  assert ids_of(answer) == theirs[:5]
  assert [i["score"] for i in answer["items"]] == table["score"][:5].to_list()
  ready = answer["ready"]
  assert ready["version"] == ListFile(path).version
  assert 0 <= ready["age_seconds"] < 600
  made = ListFacts.read(path).made
  assert ready["made"] == pytest.approx(made, abs=1e-3)
  assert answer["reason"] is None and answer["short"] is None
  assert answer["cache"] == {"hit": 0, "new": 0}
  # What may not be told is not.
  client("PUT", "/v1/items", [{"id": theirs[0], "dead": True}])
  answer = client.recommend(user_id=users[1], k=5, exclude=[theirs[2]])
  left = [item for item in theirs if item not in (theirs[0], theirs[2])]
  assert ids_of(answer) == left[:5] and answer["ready"]
  # Nor is a body that cannot be.
  wrong = {"user_id": users[1], "filter": {"nothing": 1}}
  assert client("POST", "/v1/recommend", wrong).status_code == 422
  assert _outcomes(service)["used"] == 2


def test_other_questions_are_the_models(make, path, known):
  users, ids, data = known
  service, client = make(ready=ListFile(path))
  record = data[1]

  def by_model(user=1, record=record, **body):
    answer = client.recommend(user_id=users[user], k=5, **body)
    assert answer["ready"] is None
    return ids_of(answer) == expected(ids, record, 5)

  assert by_model(model="v1")
  history = [ids[v] for v in record["item"]]
  assert by_model(history=history)
  assert not by_model(what_if="-1=removed")
  assert by_model(user=3, record=data[3])
  time_now = int(record["time"][-1]) + data.manifest.epoch_seconds + 99
  assert by_model(context={"time": time_now})
  answer = client.recommend(user_id=users[1], k=5, filter_history=False)
  shown = expected(ids, record, 5, seen=False)
  assert answer["ready"] is None and ids_of(answer) == shown
  assert _outcomes(service) == {
    **dict.fromkeys(("used", "old", "newer", "other", "short"), 0),
    "none": 1,
  }
  answer = client.recommend(user_id=users[1], k=13)
  assert answer["ready"] is None and len(answer["items"]) == 13
  assert _outcomes(service)["short"] == 1


def test_what_is_new_and_what_is_old(make, path, known):
  users, ids, _ = known
  known_until = int(ListFacts.read(path).known_until)
  service, client = make(ready=ListFile(path))

  def event(number, user, seconds):
    one = {"event_id": number, "user_id": users[user], "item": ids[5]}
    answer = client("POST", "/v1/events", [{**one, "time": seconds}])
    assert answer.status_code == 200

  event(1, 0, known_until - 1000)
  assert client.recommend(user_id=users[0], k=3)["ready"]
  # Before the list was made, and behind all that it was made of.
  event(2, 0, known_until + 2)
  assert client.recommend(user_id=users[0], k=3)["ready"] is None
  assert client.recommend(user_id=users[1], k=3)["ready"]
  client("DELETE", f"/v1/users/{users[1]}")
  answer = client.recommend(user_id=users[1], k=3)
  assert answer["ready"] is None and answer["reason"] == "unknown_user"
  assert _outcomes(service)["newer"] == 2
  _write(pl.read_parquet(path), path, seconds_ago=2 * 86_400)
  service, client = make(ready=ListFile(path))
  assert client.recommend(user_id=users[2], k=3)["ready"] is None
  assert _outcomes(service)["old"] == 1


def test_versions_that_share_the_users_have_lists_of_their_own(
  make, path, known
):
  users, _, _ = known
  table = pl.read_parquet(path)
  for model in ("", "run of v2"):
    _write(table, path, model=model)
    service, client = make(ready=ListFile(path))
    # Whom one version answers alone, lists of any do.
    assert client.recommend(user_id=users[0], k=3)["ready"]
    service.load("v2", Source("formula"))
    service.promote("v2", 0.5)
    by_list, versions = set(), set()
    for user in users[:3]:
      answer = client.recommend(user_id=user, k=3)
      versions.add(answer["model"])
      if answer["ready"]:
        by_list.add(answer["model"])
    assert versions == {"v1", "v2"}
    assert by_list == ({"v2"} if model else set())
    assert _outcomes(service)["other"] > 0


def test_lists_answer_where_the_queue_is_full(make, path, known):
  users, _, _ = known
  service, client = make(ready=ListFile(path))

  def refuse(deadline):
    raise AssertionError("no room is needed")

  service.engine.admit = refuse
  assert client.recommend(user_id=users[2], k=3)["ready"]


def test_the_model_has_the_time_that_looking_for_a_list_left(make, known):
  users, _, _ = known
  looked, deadlines = [], []

  class Nobody:
    def of(self, user):
      looked.append(time.monotonic())

  service, client = make(ready=Nobody())
  service.engine.admit = deadlines.append
  answer = client.recommend(user_id=users[2], deadline_ms=30_000)
  assert answer["ready"] is None and _outcomes(service)["none"] == 1
  assert deadlines[0] <= looked[0] + 30

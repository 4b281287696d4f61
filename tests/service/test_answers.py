# SPDX-License-Identifier: Apache-2.0
"""Lists and scores over HTTP, around models whose answers can be read off."""

import dataclasses
import time
import warnings

import numpy as np
import pytest

from genrec_jax.serving.recommender import Recommender
from tests.service import fakes
from tests.service.fakes import NUM_ITEMS, expected, ids_of


def test_a_list_is_what_the_model_says(client, known):
  users, ids, data = known
  answer = client.recommend(user_id=users[3], k=5, request_id="r-1")
  assert ids_of(answer) == expected(ids, data[3], 5)
  assert answer["request_id"] == "r-1" and answer["user_id"] == users[3]
  assert answer["model"] == "v1" and not answer["degraded"]
  assert answer["catalogue"] == data.manifest.fingerprint
  assert answer["cache"] == {"hit": 0, "new": len(data[3]["item"])}
  assert answer["short"] is None and answer["reason"] is None
  timings = answer["timings_ms"]
  assert timings["total"] >= timings["queue"] + timings["model"] > 0
  last = int(data[3]["item"][-1])
  for item in answer["items"]:
    assert item["score"] == -abs(ids.index(item["id"]) - last - 1)


def test_masks_hold_in_many_random_requests(client, known):
  users, ids, data = known
  draw = np.random.default_rng(0)
  dead = [ids[7], ids[20]]
  client("PUT", "/v1/items", [{"id": i, "dead": True} for i in dead])
  calls, wanted = [], []
  for _ in range(300):
    user = int(draw.integers(len(users)))
    exclude = draw.choice(ids[1:], draw.integers(8), replace=False).tolist()
    allow = None
    if draw.random() < 0.5:
      count = draw.integers(1, NUM_ITEMS)
      allow = draw.choice(ids[1:], count, replace=False).tolist()
    seen, k = bool(draw.integers(2)), int(draw.integers(1, 12))
    body = {
      **{"user_id": users[user], "k": k, "exclude": exclude, "allow": allow},
      **{"filter_history": seen, "deadline_ms": 60_000},
    }
    calls.append(("POST", "/v1/recommend", {"json": body}))
    wanted.append(expected(ids, data[user], k, [*exclude, *dead], allow, seen))
  shown = 0
  for start in range(0, 300, 100):
    answers = client.together(*calls[start : start + 100])
    for answer, want in zip(answers, wanted[start : start + 100], strict=True):
      assert ids_of(answer.json()) == want
      shown += len(want)
  assert shown > 600
  client("PUT", "/v1/items", [{"id": i} for i in dead])


def test_attributes_filter_and_spread(client, known):
  users, ids, data = known
  catalog = fakes.served().catalog
  kinds = ["", *catalog.attributes["category"].to_list()]
  kind = kinds[int(data[0]["item"][0])]
  body = {"user_id": users[0], "filter_history": False}
  answer = client.recommend(**body, k=50, filter={"category": kind})
  of_kind = [ids[v] for v in range(1, NUM_ITEMS + 1) if kinds[v] == kind]
  assert sorted(ids_of(answer)) == sorted(of_kind)
  assert f"{len(of_kind)} of the catalogue" in answer["short"]
  policy = "diverse:attribute=category,limit=1,within=3"
  spread = ids_of(client.recommend(**body, k=3, policy=policy))
  assert len({kinds[ids.index(i)] for i in spread}) == 3
  # An attribute that changes counts at once.
  client("PUT", "/v1/items", [{"id": ids[1], "attributes": {"category": "x"}}])
  answer = client.recommend(**body, filter={"category": ["x"]})
  assert ids_of(answer) == [ids[1]]
  client("PUT", "/v1/items", [{"id": ids[1]}])
  for wrong in ({"filter": {"colour": 1}}, {"policy": "diverse:attribute=no"}):
    assert client("POST", "/v1/recommend", {**body, **wrong}).status_code == 422


def test_an_event_counts_in_the_next_list(make, known):
  users, ids, data = known
  _, client = make()
  epoch = data.manifest.epoch_seconds
  last = int(data[1]["time"][-1]) + epoch
  events = [
    {"event_id": "b", "item": ids[9], "time": last + 20, "action": "cart"},
    {"event_id": "a", "item": ids[30], "time": last + 10, "action": "view"},
  ]
  sent = [{"user_id": users[1], **event} for event in events]
  told = client("POST", "/v1/events", sent).json()["events"]
  assert [e["outcome"] for e in told] == ["accepted"] * 2
  # The later one is the last, although it came first.
  record = {"item": np.append(data[1]["item"], [30, 9])}
  answer = client.recommend(user_id=users[1], k=5)
  assert ids_of(answer) == expected(ids, record, 5)
  again = client("POST", "/v1/events", sent[::-1]).json()["events"]
  assert [e["outcome"] for e in again] == ["duplicate"] * 2
  assert client.recommend(user_id=users[1], k=5)["items"] == answer["items"]
  other = client("POST", "/v1/events", [{**sent[0], "item": ids[2]}]).json()
  assert other["events"][0]["outcome"] == "conflict"
  # Somebody of whom the data set knows nothing has a history now.
  assert client.recommend(user_id="new")["reason"] == "unknown_user"
  client("POST", "/v1/events", [{**sent[0], "event_id": "c", "user_id": "new"}])
  answer = client.recommend(user_id="new", k=2)
  assert not answer["degraded"]
  assert ids_of(answer) == expected(ids, {"item": np.array([9])}, 2)
  # An item that the model does not know is counted, and changes nothing.
  client("POST", "/v1/events", [{**sent[0], "event_id": "d", "item": "?"}])
  assert client.recommend(user_id=users[1])["unknown_items"] == 1


def test_a_deleted_user_is_a_stranger(make, known):
  users, ids, _ = known
  service, client = make()
  popular = ids_of(client.recommend(user_id="a stranger", k=5))
  counts = fakes.served().catalog.count
  best = sorted(range(1, NUM_ITEMS + 1), key=lambda v: (-counts[v], v))[:5]
  assert popular == [ids[v] for v in best]
  now = int(time.time())
  event = {"event_id": 1, "user_id": users[2], "item": ids[4], "time": now}
  client("POST", "/v1/events", [event])
  answer = client("DELETE", f"/v1/users/{users[2]}").json()
  assert answer == {"user_id": users[2], "deleted_events": 1}
  answer = client.recommend(user_id=users[2], k=5)
  assert answer["reason"] == "unknown_user" and ids_of(answer) == popular
  again = client("POST", "/v1/events", [event]).json()["events"]
  assert again[0]["outcome"] == "duplicate"
  assert not service.store.history(users[2]).events


def test_histories_that_are_sent_and_what_ifs(client, known):
  users, ids, data = known
  answer = client.recommend(history=[ids[3], "nobody's", ids[8]], k=3)
  record = {"item": np.array([3, 8])}
  assert ids_of(answer) == expected(ids, record, 3)
  assert answer["unknown_items"] == 1
  epoch = data.manifest.epoch_seconds
  events = [
    {"item": ids[3], "time": epoch + 1, "action": "view"},
    {"item": ids[8], "time": epoch + 2.5, "action": "cart"},
  ]
  answer = client.recommend(history=events, user_id=users[0], k=3)
  assert ids_of(answer) == expected(ids, record, 3)
  without = {"item": data[5]["item"][:-1]}
  answer = client.recommend(user_id=users[5], k=3, what_if="-1=removed")
  assert ids_of(answer) == expected(ids, without, 3)
  assert answer["what_if"] == "-1=removed"
  answer = client.recommend(history=[])
  assert answer["reason"] == "no_history" and len(answer["items"]) == 10
  assert client.recommend()["reason"] == "unknown_user"


def test_lists_that_are_short_say_why(client, known):
  users, ids, _ = known
  answer = client.recommend(user_id=users[0], k=10**12, filter_history=False)
  assert len(answer["items"]) == NUM_ITEMS and "longer" in answer["short"]
  answer = client.recommend(user_id=users[0], allow=["nothing"])
  assert answer["items"] == [] and "nothing is left" in answer["short"]
  answer = client.recommend(user_id=users[0], exclude=ids[1:])
  assert answer["items"] == [] and answer["short"].startswith("0 items")
  many = [f"other {n}" for n in range(10_000)] + ids[1:5]
  answer = client.recommend(user_id=users[0], exclude=many, k=50)
  assert answer["items"] and not {*ids_of(answer)} & {*many}


def test_ranking_keeps_the_order_and_equals_the_offline_ranker(make, ranker):
  _, client = make(ranker=ranker, num_candidates=12)
  ids, user = ranker.catalog.ids, ranker.users.ids[2]
  client("PUT", "/v1/items", [{"id": ids[5], "dead": True}])
  candidates = [ids[9], "nobody's", ids[2], ids[5], ids[2], ids[14]]
  weights = {"cart": 1.0, "purchase": 3.0}
  body = {"user_id": user, "candidates": candidates, "weights": weights}
  answer = client("POST", "/v1/rank", body).json()
  items = answer["items"]
  assert [i["id"] for i in items] == candidates
  offline = ranker.rank([ids[9], ids[2], ids[14]], user, weights=weights)
  order = offline["item_id"].to_list()
  for place, row in enumerate(offline.iter_rows(named=True), 1):
    for item in items:
      if item["id"] == row["item_id"]:
        assert item["score"] == pytest.approx(row["value"], abs=1e-6)
        assert item["p"]["cart"] == pytest.approx(row["cart"], abs=1e-6)
        assert item["place"] == place == 1 + order.index(item["id"])
  assert [items[n]["status"] for n in (1, 3)] == ["unknown", "dead"]
  assert items[1]["score"] is items[3]["score"] is None
  what_if = "-1=removed,-2=removed"
  answer = client("POST", "/v1/rank", {**body, "what_if": what_if}).json()
  changed = ranker.what_if([ids[9], ids[2]], user, what_if, weights=weights)
  for row in changed.iter_rows(named=True):
    item = next(i for i in answer["items"] if i["id"] == row["item_id"])
    assert item["score_if"] == pytest.approx(row["value_if"], abs=1e-6)
    assert item["p_if"]["purchase"] == pytest.approx(
      row["purchase_if"], abs=1e-6
    )
  for wrong in (
    {"candidates": []},
    {"candidates": [str(n) for n in range(51)]},
    {"weights": {"dance": 1}},
    {"policy": "sequential"},
  ):
    assert client("POST", "/v1/rank", {**body, **wrong}).status_code == 422


def test_two_stages_are_the_offline_two_stages(make, ranker):
  _, client = make(ranker=ranker, num_candidates=12)
  data = ranker.histories
  search = fakes.NextNumber(data.manifest.num_items)
  model = Recommender(search, None, data, batch_size=4).ranked_by(ranker, 12)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for user in [*model.users.ids[:6], "a stranger"]:
      for k in (3, 12):
        offline = model.recommend(user, k=k)
        items = client.recommend(user_id=user, k=k)["items"]
        assert [i["id"] for i in items] == offline["item_id"].to_list()
        np.testing.assert_allclose(
          [i["score"] for i in items], offline["score"], rtol=1e-6
        )
        for item in items:
          assert item["score"] == pytest.approx(sum(item["p"].values()), 1e-5)


def test_probabilities_that_are_no_numbers_are_never_told(make, ranker):
  lost = []

  def logits(request):
    items = request.candidates[0][:, None].repeat(2, axis=1)
    return np.where(np.isin(items, lost), np.nan, 0.0)[None]

  broken = dataclasses.replace(ranker.scorer, score_fn=logits)
  other = type(ranker)(broken, ranker.tasks, ranker.histories)
  service, client = make(ranker=other, num_candidates=30)
  lost.append(3)
  ids, user = ranker.catalog.ids, ranker.users.ids[0]
  body = {"user_id": user, "candidates": [ids[2], ids[3]]}
  items = client("POST", "/v1/rank", body).json()["items"]
  assert [i["score"] for i in items] == [1.0, None]
  assert items[1]["place"] is None and items[1]["p"] is None
  # A second stage that fails leaves the first one's list.
  answer = client.recommend(user_id=user, k=30, filter_history=False)
  assert answer["reason"] == "not_finite:retrieval_only"
  assert len(answer["items"]) == min(30, ranker.catalog.num_items)
  value = service.metrics.registry.get_sample_value
  assert value("genrec_nan_scores_total") == 2

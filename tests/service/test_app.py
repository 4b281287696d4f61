# SPDX-License-Identifier: Apache-2.0
"""The API beside its answers: errors, load, metrics, versions, the page."""

import collections
import json
import re
import threading
import time

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.service.app import create_app
from genrec_jax.service.engine import EngineOptions
from genrec_jax.service.ladder import Ladder
from genrec_jax.service.quota import Quota
from genrec_jax.service.service import Service
from genrec_jax.service.sqlite_store import SqliteStore
from tests.service import fakes
from tests.service.fakes import expected, ids_of

_WRONG = [
  {"k": 0},
  {"k": -3},
  {"k": "five"},
  {"k": 2.5},
  {"k": 10**40},
  {"user_id": ""},
  {"user_id": "x" * 513},
  {"user_id": True},
  {"user_id": 1.5},
  {"user_id": {"a": 1}},
  {"deadline_ms": 0},
  {"context": {"time": "now"}},
  {"context": {"weather": 3}},
  {"context": {"time": 5}},
  {"history": "a text"},
  {"history": [{"item": "a", "who": 1}]},
  {"history": [{"item": "i38", "action": "dance"}]},
  {"filter": {"category": {"a": 1}}},
  {"filter": ["category"]},
  {"what_if": "nothing"},
  {"what_if": "-999=removed"},
  {"what_if": "-1=view"},
  {"policy": "sequential"},
  {"policy": "best"},
  {"model": "a b"},
  {"exclude": "all"},
  {"unheard_of": 1},
]


@pytest.mark.parametrize("wrong", _WRONG, ids=str)
def test_what_cannot_be_is_refused_with_a_reason(client, known, wrong):
  users, *_ = known
  answer = client("POST", "/v1/recommend", {"user_id": users[0], **wrong})
  assert answer.status_code == 422, answer.text
  said = answer.json()
  assert said["error"] == "invalid" and said["request_id"]
  assert 5 < len(said["detail"]) < 2000


def test_a_time_before_the_historys_end_is_refused(client, known):
  users, _, data = known
  last = int(data[0]["time"][-1]) + data.manifest.epoch_seconds
  body = {"user_id": users[0], "context": {"time": last - 1}}
  answer = client("POST", "/v1/recommend", body)
  assert answer.status_code == 422 and "before" in answer.json()["detail"]
  assert client.recommend(user_id=users[0], context={"time": last})["items"]


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"{",
    b"[1]",
    b"nothing",
    b'{"k": NaN}',
    b'{"user_id": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"user_id": "\xff"}',
    b"[" * 100_000,
    b'{"k": 1' + b"0" * 5000 + b"}",
    b'{"filter": {"category": []}}',
    b'{"filter": {"category": [true, 1, "x", 1.5]}}',
    b'{"weights": {"a": 1e999}}',
  ],
)
def test_no_body_is_an_error_of_ours(client, content):
  headers = {"content-type": "application/json"}
  for path in ("recommend", "rank", "events"):
    answer = client("POST", f"/v1/{path}", content=content, headers=headers)
    assert answer.status_code in (200, 400, 422), answer.text
    assert answer.json()


_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
  ),
  max_leaves=6,
)
_FIELDS = (
  *("user_id", "history", "k", "exclude", "allow", "filter", "policy"),
  *("what_if", "context", "candidates", "weights", "model", "event_id", "item"),
  *("time", "action", "value"),
)


@settings(max_examples=30)
@given(body=st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=5))
def test_no_values_are_an_error_of_ours(service, body):
  client = fakes.Client(create_app(service))
  content = json.dumps(body).encode()
  headers = {"content-type": "application/json"}
  for path, one in (
    ("recommend", content),
    ("rank", content),
    ("events", b"[" + content + b"]"),
  ):
    answer = client("POST", f"/v1/{path}", content=one, headers=headers)
    assert answer.status_code in (200, 404, 422), (path, body, answer.text)


def test_other_errors_have_their_codes(client, make, known):
  users, *_ = known
  body = {"user_id": users[0]}
  answer = client("POST", "/v1/recommend", {**body, "model": "v9"})
  assert answer.status_code == 404 and "v9" in answer.json()["detail"]
  assert client("GET", "/v1/nothing").status_code == 404
  assert client("GET", "/v1/recommend").status_code == 405
  large = {**body, "exclude": ["x" * 500] * 20_000}
  answer = client("POST", "/v1/recommend", large)
  assert answer.status_code == 413 and answer.json()["error"] == "too_large"

  async def parts():
    for _ in range(10):
      yield b" " * 1_000_000

  assert client("POST", "/v1/recommend", content=parts()).status_code == 413
  _, client = make(app={"quota": Quota(2.0)})
  codes = [client("POST", "/v1/rank", {}).status_code for _ in range(4)]
  assert codes[:2] == [422, 422] and codes[3] == 429
  answer = client("POST", "/v1/rank", {}, headers={"x-client": "another"})
  assert answer.status_code == 422


def test_a_full_disk_refuses_events_and_goes_on(make, tmp_path, known):
  users, ids, _ = known
  store = SqliteStore(tmp_path / "small", most_bytes=80_000)
  _, client = make(store=store)
  codes = []
  for n in range(40):
    events = [
      {"event_id": f"{n} {m}", "user_id": "u", "item": "i" * 400, "time": 1.7e9}
      for m in range(20)
    ]
    codes.append(client("POST", "/v1/events", events).status_code)
  assert codes[0] == 200 and codes[-1] == 507 and {*codes} == {200, 507}
  assert client.recommend(user_id=users[0])["items"]
  assert client("GET", "/health/ready").status_code == 200
  assert client("DELETE", "/v1/users/u").status_code == 200
  event = {"event_id": "e", "user_id": "u", "item": ids[1], "time": 1.7e9}
  assert client("POST", "/v1/events", [event]).status_code == 200


def test_slow_and_busy(make, known):
  users, *_ = known
  go = threading.Event()
  go.set()
  options = EngineOptions(
    max_queue=4,
    max_wait_seconds=0.0,
    stuck_seconds=0.2,
    # Or the most popular items would answer.
    ladder=Ladder((2.0,) * 4),
  )
  service, client = make(lambda requests: go.wait(10), engine=options)
  go.clear()
  body = {"json": {"user_id": users[0], "deadline_ms": 600}}
  calls = [("POST", "/v1/recommend", body)] * 12
  answers = client.together(*calls)
  codes = collections.Counter(a.status_code for a in answers)
  assert codes.keys() == {503, 504} and codes[503] >= 4
  refused = next(a for a in answers if a.status_code == 503)
  assert int(refused.headers["retry-after"]) >= 1
  answer = client("GET", "/health/ready")
  assert answer.status_code == 503 and answer.json()["error"] == "stuck"
  assert client("GET", "/health/live").status_code == 200
  go.set()
  deadline = time.monotonic() + 5
  while client("GET", "/health/ready").status_code != 200:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  assert client.recommend(user_id=users[0])["items"]
  service.engine.drain()
  answer = client("GET", "/health/ready")
  assert answer.json()["error"] == "draining"
  for path in ("recommend", "events"):
    body = {"user_id": users[0]}
    if path == "events":
      body = [{**body, "event_id": 1, "item": "i", "time": 0}]
    assert client("POST", f"/v1/{path}", body).status_code == 503


def test_a_row_that_raises_takes_nobody_along(make, known):
  users, ids, data = known
  bad, armed = int(data[4]["item"][-1]), []

  def fail(requests):
    if armed and any(r["item"][-1] == bad for r in requests.history):
      raise RuntimeError("this row breaks the model")

  options = EngineOptions(max_wait_seconds=0.2)
  _, client = make(fail, engine=options)
  armed.append(True)
  rest = [u for u in range(12) if data[u]["item"][-1] != bad]
  asked = [4, *rest]
  answers = client.together(
    *(
      ("POST", "/v1/recommend", {"json": {"user_id": users[u], "k": 3}})
      for u in asked
    )
  )
  found = [a.json() for a in answers]
  assert found[0]["reason"] == "model_error:popular" and found[0]["items"]
  for user, answer in zip(rest, found[1:], strict=True):
    assert not answer["degraded"]
    assert ids_of(answer) == expected(ids, data[user], 3)


def test_metrics_are_the_counted_truth(make, known):
  users, ids, _ = known
  service, client = make()
  codes, outcomes, reasons = (collections.Counter() for _ in range(3))
  for n in range(40):
    body = {"user_id": users[n % 7] if n % 3 else "?", "k": 0 if n % 5 else 4}
    answer = client("POST", "/v1/recommend", body)
    codes[str(answer.status_code)] += 1
    if answer.status_code == 200 and answer.json()["degraded"]:
      reasons[answer.json()["reason"]] += 1
    event = {"event_id": n % 9, "user_id": "u", "item": ids[n % 9 + 1]}
    told = client("POST", "/v1/events", [{**event, "time": 1.7e9}]).json()
    outcomes[told["events"][0]["outcome"]] += 1
  client("GET", "/a/path/of/somebody")
  value = service.metrics.registry.get_sample_value
  text = client("GET", "/metrics").text
  assert "# TYPE genrec_requests_total counter" in text
  assert codes.keys() == {"200", "422"}

  def of(name, **labels):
    return value(f"genrec_{name}", labels)

  route = {"route": "/v1/recommend"}
  for code, count in codes.items():
    assert of("requests_total", **route, code=code) == count
  assert of("requests_total", route="/v1/events", code="200") == 40
  assert of("requests_total", route="other", code="404") == 1
  assert of("request_seconds_count", **route) == 40
  for outcome, count in outcomes.items():
    assert of("events_total", outcome=outcome) == count
  assert of("rejected_total", reason="invalid") == codes["422"]
  assert of("degraded_total", reason="unknown_user") == reasons["unknown_user"]
  assert reasons["unknown_user"] > 0
  assert of("batch_size_sum") == codes["200"] == of("history_length_count")
  assert (
    of("model_share", model="v1", catalogue=known[2].manifest.fingerprint) == 1
  )
  assert "somebody" not in text and users[1] not in text


def test_versions_share_users_and_are_rolled_back(make, known):
  users, *_ = known
  service, client = make()
  path, body = "/v1/models/v2", {"workdir": "formula"}
  assert client("POST", f"{path}/promote").status_code == 404
  assert client("POST", f"{path}/load", body).json()["name"] == "v2"
  assert client("POST", f"{path}/load", body).status_code == 409
  # It answers who names it, and nobody else yet.
  assert client.recommend(user_id=users[0], model="v2")["model"] == "v2"
  names = [f"user {n}" for n in range(120)]

  def split():
    answers = client.together(
      *(("POST", "/v1/recommend", {"json": {"user_id": n}}) for n in names)
    )
    assert {a.status_code for a in answers} == {200}
    return [a.json()["model"] for a in answers]

  assert {*split()} == {"v1"}
  client("POST", f"{path}/promote", {"share": 0.5})
  both = split()
  assert 35 < both.count("v2") < 85 and split() == both
  shares = {
    m["name"]: m["share"] for m in client("GET", "/v1/models").json()["models"]
  }
  assert shares == {"v1": 0.5, "v2": 0.5}
  client("POST", f"{path}/promote")
  assert {*split()} == {"v2"}
  assert client("POST", f"{path}/rollback").json()["shares"] == shares
  assert split() == both


def test_a_swap_under_load_fails_nobody(make, known):
  users, *_ = known
  service, client = make()
  client("POST", "/v1/models/v2/load", {"workdir": "formula"})
  done, seen = threading.Event(), collections.Counter()

  def swap():
    while not done.is_set():
      service.promote("v2")
      time.sleep(0.005)
      service.rollback("v2")
      time.sleep(0.005)

  thread = threading.Thread(target=swap)
  thread.start()
  try:
    for _ in range(10):
      answers = client.together(
        *(("POST", "/v1/recommend", {"json": {"user_id": u}}) for u in users)
      )
      assert {a.status_code for a in answers} == {200}
      seen.update(a.json()["model"] for a in answers)
  finally:
    done.set()
    thread.join()
  assert seen.keys() == {"v1", "v2"}


def test_a_version_that_fails_to_load_leaves_the_others(make, known):
  users, *_ = known
  service, client = make()

  def refuse(source, shapes, *, name, num_golden):
    raise OSError("a damaged file")

  service._open = refuse
  answer = client("POST", "/v1/models/v2/load", {"workdir": "w"})
  assert answer.status_code == 422
  assert "damaged" in answer.json()["detail"]
  assert client.recommend(user_id=users[0])["model"] == "v1"
  assert [v.name for v in service.versions.loaded()] == ["v1"]


def test_public_and_admin_routes_are_apart(service):
  public = fakes.Client(create_app(service, admin=False))
  admin = fakes.Client(create_app(service, public=False))
  for method, path in (
    *(("GET", "/metrics"), ("GET", "/"), ("PUT", "/v1/items")),
    *(("DELETE", "/v1/users/u"), ("POST", "/v1/models/v1/promote")),
  ):
    assert public(method, path).status_code in (404, 405), path
  assert admin("POST", "/v1/recommend", {}).status_code == 404
  assert admin("GET", "/metrics").status_code == 200
  assert public("GET", "/health/ready").status_code == 200
  paths = public("GET", "/openapi.json").json()["paths"]
  assert {"/v1/recommend", "/v1/rank", "/v1/events"} <= paths.keys()
  assert not any("load" in path for path in paths)
  assert public("GET", "/docs").status_code == 200
  # Where a version lies on this machine is said to operators alone.
  (told,) = public("GET", "/v1/models").json()["models"]
  assert told.keys() == {"name", "catalogue", "share", "parity"}
  (told,) = admin("GET", "/v1/models").json()["models"]
  assert told["workdir"] == "formula"


def test_no_page_of_others_sends_what_operators_send(make):
  _, client = make()
  other = {"sec-fetch-site": "cross-site"}
  for method, path in (
    *(("POST", "/"), ("POST", "/v1/models/v1/promote")),
    *(("POST", "/v1/models/v1/rollback"), ("DELETE", "/v1/users/u")),
  ):
    answer = client(method, path, headers=other)
    assert (answer.status_code, answer.json()["error"]) == (403, "cross_site")
  # A link to the page is none.
  assert client("GET", "/", headers=other).status_code == 200


def test_an_error_of_ours_is_json_and_tells_nothing(make, known, monkeypatch):
  users, *_ = known
  service, client = make()

  def fail(*args):
    raise RuntimeError("a secret at /home/somebody")

  monkeypatch.setattr(service, "_version", fail)
  client = fakes.Client(client.app, raises=False)
  answer = client("POST", "/v1/recommend", {"user_id": users[0]})
  assert answer.status_code == 500 and "somebody" not in answer.text
  assert answer.json()["error"] == "internal" and answer.json()["request_id"]
  value = service.metrics.registry.get_sample_value
  labels = {"route": "/v1/recommend", "code": "500"}
  assert value("genrec_requests_total", labels) == 1


def test_the_page_shows_a_user_and_takes_an_event(make, known):
  users, ids, data = known
  _, client = make()
  assert "<form" in client("GET", "/").text
  page = client("GET", "/", params={"user": users[6], "k": 3}).text
  for item in expected(ids, data[6], 3):
    assert item in page
  form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
  assert form["user_id"] == users[6]
  sent = {**form, "item": ids[1], "action": "cart"}
  answer = client("POST", "/", data=sent)
  assert answer.status_code == 303 and answer.headers["location"][0] == "/"
  after = client("GET", answer.headers["location"]).text
  record = {"item": np.append(data[6]["item"], 1)}
  shown = re.findall(r"<td>\d+</td><td>([^<]*)</td>", after)
  assert len(shown) == 10
  for cell, item in zip(shown, expected(ids, record, 10), strict=True):
    assert item in cell
  other = {"sec-fetch-site": "cross-site"}
  assert client("POST", "/", data=sent, headers=other).status_code == 403
  # 7 and 7.0 are one user, on both halves of the page.
  event = {"event_id": "of 7", "user_id": 7, "item": ids[5], "time": 1.7e9}
  client("POST", "/v1/events", [event])
  page = client("GET", "/", params={"user": "7.0"}).text
  assert "the last of 1 events" in page and "unknown_user" not in page
  hostile = "<script>alert(1)</script>"
  page = client("GET", "/", params={"user": hostile, "note": hostile}).text
  assert "<script" not in page and "unknown_user" in page
  wrong = client("POST", "/", data={**form, "item": "", "event_id": "z"})
  assert "item" in client("GET", wrong.headers["location"]).text


def test_an_event_that_no_version_can_read_keeps_all_of_them_out(make, known):
  service, client = make()
  good = {"event_id": 1, "user_id": "u", "item": known[1][1], "time": 1.7e9}
  for wrong, said in (
    ({"action": "dance"}, "event 1: the data set has no action"),
    ({"time": 9e10}, "event 1: time=90000000000 must be unix SECONDS"),
    ({"value": 1e39}, "value"),
    ({"time": time.time() + 90_000}, "event 1: time="),
  ):
    bad = {**good, "event_id": 2, **wrong}
    answer = client("POST", "/v1/events", [good, bad])
    assert answer.status_code == 422 and said in answer.json()["detail"]
  assert service.store.history("u").events == ()
  # An item that none knows is kept for one that will.
  other = {**good, "event_id": 2, "item": "of tomorrow"}
  answer = client("POST", "/v1/events", [good, other])
  assert answer.status_code == 200
  assert len(service.store.history("u").events) == 2


def test_a_store_of_ones_own_is_checked_where_it_enters():
  class Half:
    def append(self, events):
      return []

  with pytest.raises(ValueError, match=r"store \(Half\) lacks history, forget"):
    Service(Half())


def test_ids_of_any_kind(client):
  strange = "ſträngé/../%00 日本 \u202e\x00\n'\";--"
  answer = client.recommend(user_id=strange, request_id=strange)
  assert answer["user_id"] == strange and answer["reason"] == "unknown_user"
  event = {"event_id": strange, "user_id": strange, "item": "7" * 512}
  told = client("POST", "/v1/events", [{**event, "time": 1.7e9}]).json()
  assert told["events"][0] == {"event_id": strange, "outcome": "accepted"}
  assert client.recommend(user_id=7)["user_id"] == "7"
  headers = {"x-request-id": "from-a-proxy"}
  answer = client("GET", "/health/live", headers=headers)
  assert answer.headers["x-request-id"] == "from-a-proxy"

# SPDX-License-Identifier: Apache-2.0
"""OTTO's sessions: actions by name, orders as baskets, faults of a line."""

import json

import pytest

from genrec_jax.data.prepare import encode
from genrec_jax.data.sources import Otto

_T = 1_659_304_800_025


def _event(aid, time, kind):
  return {"aid": aid, "ts": time, "type": kind}


_SESSIONS = [
  {
    "session": 3,
    "events": [
      _event(11, _T + 5000, "orders"),
      _event(10, _T, "clicks"),
      _event(10, _T + 1, "carts"),
      _event(10, _T + 5000, "orders"),
      _event(12, _T + 7000, "orders"),
    ],
  },
  {"session": 4, "events": []},
  {"session": 5, "events": [_event(10, _T + 5000, "orders")]},
]


def _write(folder, sessions):
  path = folder / "otto.jsonl"
  path.write_text("".join(json.dumps(s) + "\n" for s in sessions))
  return str(path)


def _ids(sequences, user):
  names = ["", *sequences.items["item_id"]]
  return [names[i] for i in sequences.record(user)["item"]]


def test_sessions_are_users_and_orders_of_a_moment_requests(tmp_path):
  raw = Otto(_write(tmp_path, _SESSIONS)).read()
  assert raw.actions == ["view", "cart", "purchase"]
  sequences = encode(raw)
  assert sequences.user_ids == ["3", "5"]
  record = sequences.record(0)
  assert _ids(sequences, 0) == ["10", "10", "11", "10", "12"]
  assert record["action"].tolist() == [1, 2, 3, 3, 3]
  assert record["request"].tolist() == [0, 1, 2, 2, 3]
  assert record["time"].tolist() == [0, 0, 5, 5, 7]
  assert sequences.epoch_seconds == _T // 1000


def test_a_release_in_seconds_has_the_same_times(tmp_path):
  seconds = [
    {**s, "events": [{**e, "ts": e["ts"] // 1000} for e in s["events"]]}
    for s in _SESSIONS
  ]
  sequences = encode(Otto(_write(tmp_path, seconds)).read())
  assert sequences.epoch_seconds == _T // 1000
  assert sequences.record(0)["time"].tolist() == [0, 0, 5, 5, 7]


def test_actions_are_chosen_by_name_and_the_others_counted(tmp_path):
  path = _write(tmp_path, _SESSIONS)
  raw = Otto(path, actions=("purchase",)).read()
  counts = encode(raw).counts
  assert (counts["in"], counts["out"]) == (6, 4)
  assert list(counts["dropped"].values()) == [1, 1]
  with pytest.raises(ValueError, match="'orders', which never occurs"):
    Otto(path, actions=("orders",)).read()


@pytest.mark.parametrize(
  ("event", "said"),
  [
    (
      _event(10, _T, "likes"),
      "otto.jsonl, line 2: column 'type' holds 'likes'",
    ),
    ({"aid": 10, "ts": _T}, "otto.jsonl, .*column 'type' has none"),
    ({"aid": 10, "type": "clicks"}, "1 of 7 events have no timestamp.* row 6"),
    (_event(10, 0, "clicks"), "1 of 7 timestamps are of 1970 .* in row 6"),
    (_event(10, _T // 1000, "carts"), "mixed units: row 6"),
    (_event(10, "soon", "carts"), "cannot read 'soon' as timestamp in row 6"),
  ],
)
def test_an_event_that_cannot_be_read_is_named(tmp_path, event, said):
  sessions = [_SESSIONS[0], {"session": 9, "events": [event]}, _SESSIONS[2]]
  with pytest.raises(ValueError, match=said):
    encode(Otto(_write(tmp_path, sessions)).read())


def test_a_damaged_line_and_a_missing_file_are_named(tmp_path):
  path = _write(tmp_path, _SESSIONS)
  with open(path, "a") as file:
    file.write('{"session": 6, "events": [{"aid": 1, \n')
  with pytest.raises(ValueError, match="line 4 of .*otto.jsonl is not JSON"):
    Otto(path).read()
  with pytest.raises(ValueError, match="Otto needs path="):
    Otto().read()
  sessions = [
    {"session": 1, "events": [{"item": 1, "ts": _T, "type": "carts"}]}
  ]
  with pytest.raises(ValueError, match="no column 'aid'"):
    Otto(_write(tmp_path, sessions)).read()


def test_the_published_sample(shared):
  path = shared / "data/otto-sample.jsonl"
  sessions = [json.loads(line) for line in path.read_text().splitlines()]
  sequences = encode(Otto(str(path)).read(), deduplicate=False)
  assert sequences.user_ids == [str(s["session"]) for s in sessions]
  for user, session in enumerate(sessions):
    events = sorted(session["events"], key=lambda e: e["ts"])
    record = sequences.record(user)
    assert _ids(sequences, user) == [str(event["aid"]) for event in events]
    names = [sequences.actions[a] for a in record["action"]]
    words = {"view": "clicks", "cart": "carts", "purchase": "orders"}
    assert [words[name] for name in names] == [e["type"] for e in events]

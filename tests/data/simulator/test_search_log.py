# SPDX-License-Identifier: Apache-2.0
"""The simulated search: queries, impressions, and what clicks come of."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from genrec_jax.data.simulator.search_log import SearchLog
from genrec_jax.data.simulator.words import word_names

_SMALL = dict(num_users=120, num_documents=240, num_topics=4, topic_queries=6)


@pytest.fixture(scope="module")
def raw():
  return SearchLog(seed=3, pictures=True, **_SMALL).read()


def _shown(raw):
  return raw.events.filter(pl.col("value").is_not_null())


def test_the_seed_decides_everything_and_pictures_change_no_event(raw):
  again = SearchLog(seed=3, **_SMALL).read()
  assert again.events.equals(raw.events)
  assert again.items.equals(raw.items.drop("picture"))
  other = SearchLog(seed=4, **_SMALL).read()
  assert not other.events.equals(raw.events)


def test_a_request_is_its_query_and_then_what_is_shown(raw):
  kind = dict(raw.items.select("item", "kind").iter_rows())
  assert raw.events["timestamp"].is_sorted()
  groups = raw.events.group_by("user", "request", maintain_order=True)
  times = {}
  for (user, _), events in groups:
    assert len(events) == 9
    assert events["action"][0] == "query|unasked"
    assert kind[events["item"][0]] == "query"
    shown = events["item"][1:].to_list()
    assert {kind[i] for i in shown} == {"document"} and len(set(shown)) == 8
    # Sixty documents and six queries a topic; two of what is shown are strays.
    topic = int(events["item"][0][1:]) // 6
    assert sum(int(i[1:]) // 60 == topic for i in shown) == 6
    assert set(events["action"][1:]) <= {"skip", "click"}
    (time,) = events["timestamp"].unique()
    assert time > times.get(user, 0)
    times[user] = time
  assert set(raw.events["action"]) == set(raw.actions)


def test_clicks_come_as_often_as_their_probability_says(raw):
  shown = _shown(raw)
  p = shown["value"].to_numpy()
  clicked = (shown["action"] == "click").to_numpy()
  assert 0.2 < clicked.mean() < 0.5
  for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
    mine = (p >= low) & (p < high)
    assert clicked[mine].mean() == pytest.approx(p[mine].mean(), abs=0.06)
  assert roc_auc_score(clicked, p) > 0.75


def test_many_ask_the_same_and_late_documents_are_not_shown_early(raw):
  asked = raw.events.filter(pl.col("value").is_null())["item"]
  assert asked.value_counts()["count"].max() > 20
  shown = _shown(raw)
  first = shown.group_by("item").agg(pl.col("timestamp").min())["timestamp"]
  span = shown["timestamp"].max() - shown["timestamp"].min()
  late = (first - shown["timestamp"].min()) / span
  assert 0.1 < (late > 0.3).mean() < 0.4


def test_half_of_a_text_tells_what_it_is_about_and_half_nothing(raw):
  """A topic's words are those of its queries' documents; noise is anyone's."""
  documents = raw.items.filter(pl.col("kind") == "document")
  words = [title.split() for title in documents["title"]]
  assert {len(text) for text in words} == {20}
  place = {w: i for i, w in enumerate(sorted({w for t in words for w in t}))}
  topic = np.arange(240) * 4 // 240
  table = np.zeros((4, len(place)))
  for t, text in zip(topic, words, strict=True):
    table[t, [place[w] for w in text]] += 1
  # A word of a topic is in no other's texts, and is said often.
  own = (table > 0).sum(axis=0) == 1
  often = table.sum(axis=0) >= 4
  told = [np.mean([own[place[w]] & often[place[w]] for w in t]) for t in words]
  assert np.mean(told) == pytest.approx(0.5, abs=0.1)


def test_a_taste_can_be_read_from_pictures_as_from_latents(raw):
  """What a user clicks on tells the pictures that are clicked on later."""
  numbers = raw.items["picture"].str.split(" ").to_list()
  numbers = np.array(numbers, np.float64)
  place = {name: i for i, name in enumerate(raw.items["item"])}
  found = []
  for (_,), events in _shown(raw).group_by("user", maintain_order=True):
    x = numbers[[place[i] for i in events["item"]]]
    y = (events["action"] == "click").to_numpy()
    half = len(y) // 2
    parts = (y[:half], ~y[:half], y[half:], ~y[half:])
    if min(part.sum() for part in parts) > 3:
      model = LogisticRegression(C=0.01, max_iter=500).fit(x[:half], y[:half])
      found.append(roc_auc_score(y[half:], model.decision_function(x[half:])))
  assert len(found) > 80 and np.mean(found) > 0.63


def test_words_are_different():
  names = word_names(9_000, np.random.default_rng(0))
  assert len(set(names)) == 9_000 and {len(n) for n in names} == {6}


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_documents": 10}, r"num_documents=10\): must be at least 160"),
    ({"strays": 9}, r"strays=9\): of 8 that are shown"),
    ({"informative": 1.5}, r"informative=1.5\): must be in \[0, 1\]"),
    ({"topic_words": 5}, r"topic_words=5\): must be at least 20"),
  ],
)
def test_what_cannot_be_simulated(options, message):
  with pytest.raises(ValueError, match=message):
    SearchLog(**options)

# SPDX-License-Identifier: Apache-2.0
"""A seeded simulator of a search: query texts, document texts, impressions.

Words. A topic has words of its own, each with a latent vector near the topic's;
noise words are shared by all topics and mean nothing.
Documents. One topic, `informative` of its words from that and the others noise,
in random order: its latent z_d is the mean of its topic words', so that all
that is liked of it can be read, in half of its text. A quality of its own can
not be read. A share is published late, day by day.
Users. Two or three topics that they ask about, and a taste u: a unit vector
near these topics.
Requests. A query of a topic (three of its words, latent z_q, few enough that
many ask the same), and documents shown for it: those like z_q, drawn by
likeness and popularity, and `strays`, of other topics. Each is clicked with the
probability

    p = sigmoid(bias + taste <u, z_d> + relevance <z_q, z_d> + quality_d)

independently of the others. The log has the query as an event of the request
(data/dataset/impressions.py) whose item is the query, with its text as title,
then the impressions: "click" or "skip". Column `kind` of the items tells
documents and queries. `value` of an impression is p: what no model should be
given, and what tells how well the best could do. With `pictures` items also
have a square of numbers, a sum of patterns weighted by z, with noise: the same
knowledge as no text.
"""

import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.data import schema
from genrec_jax.data.action_text import QUERY, SEPARATOR, SKIP, UNASKED
from genrec_jax.data.simulator.words import word_names

CLICK = "click"
_ASKS = f"{QUERY}{SEPARATOR}{UNASKED}"
_COLUMNS = ("user", "item", "timestamp", "action", "value", "request")
_START = 1_672_531_200  # 2023-01-01 00:00:00 UTC
_DAY = 86_400
_LATENT = 8
# Documents that are compared with a query, of its topic.
_POOL = 200


@dataclasses.dataclass(frozen=True)
class SearchLog:
  """The simulator as a source; see the module docstring.

  Attributes:
    topic_words: words of each topic.
    noise_words: words of none.
    document_words: of a document's text.
    informative: share of these that is of its topic.
    query_words: of a query's text.
    topic_queries: queries of each topic.
    requests: mean number of a user's, at least 2.
    shown: documents of a request.
    strays: how many of these are of other topics than the query.
    late: share of documents that are published after the log begins.
    bias, taste, relevance: see the module docstring.
    quality: standard deviation of a document's.
    side: of the pictures' squares.
    pictures: whether items have one.
  """

  seed: int = 0
  num_users: int = 4_000
  num_documents: int = 10_000
  num_topics: int = 20
  topic_words: int = 60
  noise_words: int = 2_000
  document_words: int = 20
  informative: float = 0.5
  query_words: int = 3
  topic_queries: int = 25
  requests: float = 8.0
  shown: int = 8
  strays: int = 2
  days: int = 60
  late: float = 0.3
  bias: float = -4.0
  taste: float = 4.0
  relevance: float = 2.0
  quality: float = 0.5
  side: int = 8
  pictures: bool = False

  def __post_init__(self):
    for name, least in (
      ("num_users", 1),
      ("num_topics", 3),
      ("num_documents", self.num_topics * self.shown),
      ("topic_words", max(self.document_words, self.query_words)),
      ("noise_words", self.document_words),
      ("document_words", 1),
      ("query_words", 1),
      ("topic_queries", 1),
      ("requests", 2),
      ("shown", 1),
      ("strays", 0),
      ("days", 1),
      ("quality", 0),
      ("side", 2),
    ):
      if getattr(self, name) < least:
        raise ValueError(
          f"SearchLog({name}={getattr(self, name)}): must be at least {least}"
        )
    for name in ("informative", "late"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f"SearchLog({name}={getattr(self, name)}): must be in [0, 1]"
        )
    if self.strays > self.shown:
      raise ValueError(
        f"SearchLog(strays={self.strays}): of {self.shown} that are shown"
      )

  def read(self) -> schema.RawLog:
    """Simulates; the log is in order of time."""
    rng = np.random.default_rng(self.seed)
    texts = _Texts.draw(self, rng)
    events = self._events(texts, rng)
    return schema.RawLog(
      events=events.sort("timestamp", maintain_order=True),
      items=self._items(texts),
      actions=[SKIP, CLICK, _ASKS],
      timestamp_unit="s",
    )

  def _items(self, texts: "_Texts") -> pl.DataFrame:
    documents, queries = len(texts.document_I), len(texts.query_I)
    table = pl.DataFrame(
      {
        "item": [*_ids("d", documents), *_ids("q", queries)],
        "title": [*texts.document_I, *texts.query_I],
        "kind": ["document"] * documents + ["query"] * queries,
      }
    )
    if not self.pictures:
      return table
    # Of a stream of its own, so that a log is the same with and without.
    rng = np.random.default_rng([self.seed, 1])
    latent = np.concatenate([texts.latent_IZ, texts.query_QZ])
    patterns = rng.normal(size=(_LATENT, self.side**2))
    squares = latent @ patterns + 0.3 * rng.normal(
      size=(len(latent), self.side**2)
    )
    numbers = [" ".join(f"{x:.2f}" for x in row) for row in squares]
    return table.with_columns(picture=pl.Series(numbers))

  def _events(self, texts: "_Texts", rng: np.random.Generator) -> pl.DataFrame:
    """A query and what is shown for it, request by request."""
    shape = (self.num_users, 3)
    topics_U3 = np.argsort(rng.random((self.num_users, self.num_topics)))
    topics_U3 = topics_U3[:, :3]
    weight_U3 = rng.gamma(2.0, size=shape)
    weight_U3[:, 2] *= rng.random(self.num_users) < 0.5
    weight_U3 /= weight_U3.sum(axis=1, keepdims=True)
    taste_UZ = np.einsum("uk,ukz->uz", weight_U3, texts.topic_KZ[topics_U3])
    taste_UZ = _unit(_unit(taste_UZ) + 0.25 * rng.normal(size=taste_UZ.shape))
    period = self.days * _DAY
    names = {"d": _ids("d", self.num_documents)}
    names["q"] = _ids("q", len(texts.query_I))
    users = _ids("u", self.num_users)
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for user in range(self.num_users):
      count = max(2, int(rng.poisson(self.requests)))
      times = np.sort(rng.integers(period - count, size=count))
      for number, time in enumerate(times + np.arange(count)):
        topic = int(topics_U3[user, rng.choice(3, p=weight_U3[user])])
        query = topic * self.topic_queries + int(
          self.topic_queries * rng.random() ** 2
        )
        shown = texts.shown_for(self, topic, query, int(time), rng)
        p = self._probability(texts, taste_UZ[user], query, shown)
        clicked = rng.random(len(shown)) < p
        size = 1 + len(shown)
        found["user"] += [users[user]] * size
        found["item"] += [names["q"][query], *(names["d"][d] for d in shown)]
        found["timestamp"] += [_START + int(time)] * size
        found["action"] += [_ASKS, *(CLICK if c else SKIP for c in clicked)]
        found["value"] += [None, *p.tolist()]
        found["request"] += [number] * size
    return pl.DataFrame(found, schema_overrides={"value": pl.Float32})

  def _probability(
    self,
    texts: "_Texts",
    taste_Z: Float[np.ndarray, "Z"],
    query: int,
    shown: Int[np.ndarray, "n"],
  ) -> Float[np.ndarray, "n"]:
    latent_NZ = texts.latent_IZ[shown]
    logits = (
      self.bias
      + self.taste * latent_NZ @ taste_Z
      + self.relevance * latent_NZ @ texts.query_QZ[query]
      + texts.quality_I[shown]
    )
    return 1 / (1 + np.exp(-logits))


@dataclasses.dataclass(frozen=True)
class _Texts:
  """Documents (I) and queries (Q): their texts, latents, and lives.

  Documents and queries of a topic are numbered one after the other.
  """

  topic_KZ: np.ndarray
  latent_IZ: np.ndarray
  query_QZ: np.ndarray
  quality_I: np.ndarray
  popularity_I: np.ndarray
  birth_I: np.ndarray
  first_K: np.ndarray
  document_I: list[str]
  query_I: list[str]

  @classmethod
  def draw(cls, log: SearchLog, rng: np.random.Generator) -> "_Texts":
    """Everything that does not depend on users."""
    topics, words = log.num_topics, log.topic_words
    topic_KZ = _unit(rng.normal(size=(topics, _LATENT)))
    # Nearer to each other than to another topic's, and still apart.
    word_KWZ = topic_KZ[:, None] + 0.5 * rng.normal(
      size=(topics, words, _LATENT)
    )
    names = word_names(topics * words + log.noise_words, rng)
    own, noise = names[: topics * words], names[topics * words :]
    first_K = np.linspace(0, log.num_documents, topics + 1).astype(np.int64)
    topic_I = np.repeat(np.arange(topics), np.diff(first_K))
    told = round(log.informative * log.document_words)

    def text(topic, count, more):
      chosen = rng.choice(words, count, replace=False)
      said = [own[topic * words + w] for w in chosen]
      said += [noise[w] for w in rng.integers(len(noise), size=more)]
      if not count:
        return " ".join(said), np.zeros(_LATENT)
      latent = word_KWZ[topic, chosen].mean(axis=0)
      return " ".join(said[i] for i in rng.permutation(len(said))), latent

    documents = [text(t, told, log.document_words - told) for t in topic_I]
    queries = [
      text(t, log.query_words, 0)
      for t in np.repeat(np.arange(topics), log.topic_queries)
    ]
    birth_I = rng.integers(log.days * _DAY, size=log.num_documents)
    late_I = rng.random(log.num_documents) < log.late
    # As many of a topic as are shown are always there.
    late_I[(first_K[:-1, None] + np.arange(log.shown)).reshape(-1)] = False
    return cls(
      topic_KZ=topic_KZ,
      latent_IZ=_unit(np.array([latent for _, latent in documents])),
      query_QZ=_unit(np.array([latent for _, latent in queries])),
      quality_I=log.quality * rng.normal(size=log.num_documents),
      popularity_I=rng.normal(size=log.num_documents),
      birth_I=np.where(late_I, birth_I, 0),
      first_K=first_K,
      document_I=[said for said, _ in documents],
      query_I=[said for said, _ in queries],
    )

  def shown_for(
    self,
    log: SearchLog,
    topic: int,
    query: int,
    time: int,
    rng: np.random.Generator,
  ) -> Int[np.ndarray, "n"]:
    """Different documents, all published: like the query, and strays.

    Of every topic there are enough from the beginning.
    """
    first, end = self.first_K[topic : topic + 2]
    pool = np.arange(first, end)
    pool = pool[self.birth_I[pool] <= time]
    if len(pool) > _POOL:
      pool = rng.choice(pool, _POOL, replace=False)
    score = 6 * self.latent_IZ[pool] @ self.query_QZ[query]
    score += self.popularity_I[pool] + rng.gumbel(size=len(pool))
    alike = pool[np.argsort(-score)[: log.shown - log.strays]]
    others = np.r_[:first, end : log.num_documents]
    others = others[self.birth_I[others] <= time]
    others = rng.choice(others, log.strays, replace=False)
    return rng.permutation(np.concatenate([alike, others]))


def _unit(x: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.maximum(length, 1e-9)


def _ids(letter: str, count: int) -> list[str]:
  width = len(str(count))
  return [f"{letter}{number:0{width}d}" for number in range(count)]

# SPDX-License-Identifier: Apache-2.0
"""KuaiRand-Pure: impressions of short videos with many signals of feedback.

    KuaiRand("kuairand-pure")    log_standard* user_features* video_features*
                                 and, with history, history_before*

An impression's action joins those of its signals by "|", "skip" without any;
value = play time / duration (null at duration 0); request = its milliseconds;
scene, where asked for, the tab of the app.

The lists hold a user's last 50 videos before the log, in order, with no time
but the last. They become events of one request before the log's, a microsecond
apart, at that time and never after the first impression: "long_view" and "like"
where a video is in those lists too, and "untimed". They hold what was shown,
not what was clicked (of whole lists 39 % are long views; of the log's
impressions 32 %, of its clicks 70 %), so no click is put in. Likes
and long views of earlier videos, which have no place, are dropped and counted.

Source: C. Gao et al., KuaiRand, CIKM 2022 (arXiv 2208.08696); CC BY-SA 4.0.
"""

import dataclasses
import pathlib

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.action_text import SKIP, UNTIMED
from genrec_jax.data.sources import column_types, tables
from genrec_jax.data.sources.signals import joined

# Column of the log -> action.
SIGNALS = {
  "is_click": "click",
  "long_view": "long_view",
  "is_like": "like",
  "is_follow": "follow",
  "is_comment": "comment",
  "is_forward": "forward",
  "is_hate": "hate",
  "is_profile_enter": "profile",
}
# Column of the lists -> action, in the order of SIGNALS.
_LISTS = {"long_watch_seq": "long_view", "like_seq": "like"}
_LOG = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms")
_HISTORY = ("user_id", "last_time_ms", "watch_seq", *_LISTS)


@dataclasses.dataclass(frozen=True)
class KuaiRand:
  """The standard log with side features.

  Attributes:
    path: folder of the files.
    history: put the lists from before the log first.
    scene: read in which tab a video was shown; of the lists nobody knows it.
  """

  path: str = ""
  history: bool = True
  scene: bool = schema.later(False)

  def read(self) -> schema.RawLog:
    """Reads impressions, lists, users and videos.

    Raises:
      ValueError: no such folder, a file or column that is missing, or damage.
    """
    tab = ("tab",) if self.scene else ()
    log = _open(self._files("log_standard"), (*_LOG, *SIGNALS, *tab))
    impressions = _impressions(log)
    if self.scene:
      impressions = impressions.with_columns(scene=log["tab"].cast(pl.Int64))
    parts, dropped = [impressions], {}
    if self.history:
      lists = _open(self._files("history_before"), _HISTORY)
      first = log.group_by("user_id").agg(pl.col("time_ms").min())
      events, dropped = _events_of_lists(lists, first)
      parts.insert(0, events)
    users = _open(self._files("user_features"), ("user_id",))
    videos = _open(self._files("video_features_basic"), ("video_id",))
    return schema.RawLog(
      # Nobody knows where the videos of the lists were shown.
      events=pl.concat(parts, how="diagonal"),
      items=_typed(videos).rename({"video_id": "item"}),
      users=_typed(users).rename({"user_id": "user"}),
      sources=self.checksums(),
      dropped=dropped,
      timestamp_unit="us",
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the files that are read."""
    kinds = ["log_standard", "user_features", "video_features_basic"]
    kinds += ["history_before"] if self.history else []
    paths = [p for kind in kinds for p in tables.find(self._files(kind))]
    return checksums.sha256(paths)

  def _files(self, kind: str) -> str:
    if not self.path:
      raise ValueError(
        "KuaiRand needs path=, the folder with its files (log_standard*,"
        " user_features*, video_features_basic*, history_before*)."
      )
    return str(pathlib.Path(self.path) / f"{kind}*")


def _open(pattern: str, wanted: tuple[str, ...]) -> pl.DataFrame:
  return tables.open_table(pattern, wanted).collect()


def _typed(table: pl.DataFrame) -> pl.DataFrame:
  """Columns of text as what their values are."""
  return table.with_columns(
    column_types.guessed(column)
    for column in table
    if column.dtype == pl.String
  )


def _impressions(log: pl.DataFrame) -> pl.DataFrame:
  actions = [
    pl.when(pl.col(column).cast(pl.Int64) > 0).then(pl.lit(action))
    for column, action in SIGNALS.items()
  ]
  time = pl.col("time_ms").cast(pl.Int64)
  duration = pl.col("duration_ms").cast(pl.Float64)
  played = pl.col("play_time_ms").cast(pl.Float64) / duration
  return log.select(
    user="user_id",
    item="video_id",
    timestamp=time * 1000,
    action=joined(actions).replace({"": SKIP}),
    value=pl.when(duration > 0).then(played).cast(pl.Float32),
    request=time,
  )


def _events_of_lists(
  lists: pl.DataFrame, first: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, int]]:
  """Events of the lists, and what of them is none.

  Args:
    lists: a row per user.
    first: user_id and time_ms of every user's first impression.
  """
  first = first.select("user_id", pl.col("time_ms") - 1)
  last = pl.min_horizontal("last_time_ms", "time_ms")
  lists = lists.join(first, on="user_id", how="left", maintain_order="left")
  shown = (
    lists.select(
      "user_id",
      "watch_seq",
      end=last * 1000,
      back=pl.int_ranges(pl.col("watch_seq").list.len(), 0, -1),
    )
    .explode("watch_seq", "back")
    .rename({"watch_seq": "video_id"})
    .drop_nulls("video_id")
  )
  dropped, actions = {}, []
  for column, action in _LISTS.items():
    named = (
      lists.select("user_id", pl.col(column).alias("video_id"))
      .explode("video_id")
      .drop_nulls("video_id")
    )
    key = ["user_id", "video_id"]
    earlier = named.join(shown, on=key, how="anti").height
    if earlier:
      dropped[f"{action} of a video before the list's first"] = earlier
    marked = named.unique().with_columns(pl.lit(action).alias(action))
    shown = shown.join(marked, on=key, how="left", maintain_order="left")
    actions.append(pl.col(action))
  return shown.select(
    user="user_id",
    item="video_id",
    timestamp=pl.col("end") - pl.col("back") + 1,
    action=joined([*actions, pl.lit(UNTIMED)]),
    value=pl.lit(None, pl.Float32),
    # No impression has it: they are in milliseconds since 1970.
    request=pl.lit(0, pl.Int64),
  ), dropped

# SPDX-License-Identifier: Apache-2.0
"""Data sets that TFDS has prepared are sources, without TensorFlow."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genrec_jax.core.build import build
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import TfdsDataset

_EVENTS = [
  # user, movie, when, title, genre, age
  (b"07", 1, 30, "A", 0, 25.0),
  (b"7", 2, 10, "B", 1, 40.0),
  (b"07", 2, 20, "B", 1, 25.0),
  (b"07", 3, 40, "", -1, 25.0),
]


class ShopEvents(tfds.core.GeneratorBasedBuilder):
  """One example per event, or one per user."""

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(name="events"),
    tfds.core.BuilderConfig(name="users"),
  ]

  def _info(self):
    features = {
      "who": tfds.features.Text(),
      "about": {"age": np.float32},
    }
    of_event = {
      "movie": np.int64,
      "when": np.int64,
      "title": tfds.features.Text(),
      "genre": tfds.features.ClassLabel(names=["war", "love"]),
    }
    if self.builder_config.name == "events":
      features |= of_event
    else:
      features["seen"] = tfds.features.Sequence(of_event)
      features["pair"] = tfds.features.Tensor(shape=(2,), dtype=np.int64)
      features["square"] = tfds.features.Tensor(shape=(2, 2), dtype=np.int64)
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    return {"train": self._examples()}

  def _generate_examples(self):
    raise NotImplementedError

  def _examples(self):
    rows = [
      {"who": w, "about": {"age": a}, "movie": m, "when": t, "title": n,
       "genre": g}
      for w, m, t, n, g, a in _EVENTS
    ]  # fmt: skip
    if self.builder_config.name == "events":
      yield from enumerate(rows)
      return
    for number, who in enumerate((b"07", b"7")):
      mine = [row for row in rows if row["who"] == who]
      seen = [
        {n: row[n] for n in ("movie", "when", "title", "genre")} for row in mine
      ]
      yield (
        number,
        {
          "who": who,
          "about": mine[0]["about"],
          "seen": seen,
          "pair": [1, 2],
          "square": [[1, 2], [3, 4]],
        },
      )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  for kind in ("events", "users"):
    builder = ShopEvents(
      config=kind, data_dir=folder, file_format="array_record"
    )
    builder.download_and_prepare()
  return folder


def _source(folder, kind="events", **columns):
  inner = "" if kind == "events" else "seen/"
  usual = {
    "user": "who",
    "item": f"{inner}movie",
    "timestamp": f"{inner}when",
    "title": f"{inner}title",
    "item.genre": f"{inner}genre",
    "user.age": "about/age",
  }
  return TfdsDataset(
    f"shop_events/{kind}",
    "train",
    columns={k: v for k, v in (usual | columns).items() if v},
    data_dir=str(folder),
    unit="s",
  )


@pytest.mark.parametrize("kind", ["events", "users"])
def test_events_or_users_are_the_same_log(folder, kind):
  sequences = encode(_source(folder, kind).read())
  assert sequences.user_ids == ["07", "7"]
  assert sequences.items["item_id"].to_list() == ["2", "1", "3"]
  assert sequences.items["title"].to_list() == ["B", "A", ""]
  assert sequences.items["genre"].to_list() == ["love", "war", None]
  assert sequences.users["age"].to_list() == [25.0, 40.0]
  assert sequences.record(0)["item"].tolist() == [1, 2, 3]
  assert sequences.record(0)["time"].tolist() == [10, 20, 30]


def test_a_config_builds_it(folder):
  source = _source(folder)
  node = {"name": "sources.TfdsDataset", **dataclasses.asdict(source)}
  assert build(node) == source


def test_it_is_prepared_and_known_by_its_files(folder, tmp_path):
  source = _source(folder)
  manifest = prepare(source, LeaveOneOut(), tmp_path / "data")
  assert any("array_record" in name for name in manifest.checksums)
  # Wherever the data set lies, it is the same.
  moved = tmp_path / "elsewhere"
  moved.symlink_to(folder)
  assert prepare(_source(moved), LeaveOneOut(), tmp_path / "data") == manifest
  with pytest.raises(ValueError, match="columns.title"):
    prepare(_source(folder, title=""), LeaveOneOut(), tmp_path / "data")


@pytest.mark.parametrize(
  ("kind", "columns", "message"),
  [
    ("events", {"item": "film"}, "item='film', which is no feature.*about/age"),
    ("events", {"item": "mvoie"}, "Did you mean 'movie'"),
    ("users", {"item": "movie"}, "'movie', which is no feature.*seen/movie"),
    ("users", {"item": "square"}, r"'square'.*has the shape \(2, 2\)"),
    ("users", {"action": "pair"}, "example 0 has .*different lengths"),
    ("events", {"itme": "movie"}, "the role 'itme'.*Did you mean 'item'"),
    ("events", {"user": ""}, "must say which feature is the user"),
  ],
)
def test_wrong_columns_are_named_with_those_there_are(
  folder, kind, columns, message
):
  with pytest.raises(ValueError, match=message):
    _source(folder, kind, **columns).read()


def test_what_is_not_there_says_where_and_how(folder, tmp_path):
  columns = {"user": "who", "item": "movie"}
  source = TfdsDataset("shop_evens", "train", columns, str(folder))
  message = "no data set 'shop_evens' in .*which holds .*shop_events.*builder"
  with pytest.raises(ValueError, match=message):
    source.read()
  source = TfdsDataset("shop_events", "train", columns, str(tmp_path))
  with pytest.raises(ValueError, match="which holds none"):
    source.read()
  source = TfdsDataset("shop_events/events", "test", columns, str(folder))
  with pytest.raises(ValueError, match="no split 'test'.*train"):
    source.read()


def test_files_that_only_tensorflow_reads_are_named(folder, tmp_path):
  place = tmp_path / "shop_events" / "events" / "1.0.0"
  place.parent.mkdir(parents=True)
  place.symlink_to(folder / "shop_events" / "events" / "1.0.0")
  text = (place / "dataset_info.json").read_text()
  place.unlink()
  place.mkdir()
  for path in (folder / "shop_events" / "events" / "1.0.0").iterdir():
    (place / path.name).write_bytes(path.read_bytes())
  (place / "dataset_info.json").write_text(
    text.replace("array_record", "tfrecord")
  )
  with pytest.raises(ValueError, match="tfrecord files.*array_record"):
    _source(tmp_path).read()


def test_tensorflow_is_not_imported(folder):
  code = f"""
import sys
from genrec_jax.data.sources import TfdsDataset
columns = {{"user": "who", "item": "movie"}}
log = TfdsDataset("shop_events/events", "train", columns, {str(folder)!r})
print(len(log.read().events), "tensorflow" in sys.modules)
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert done.stdout.split()[-2:] == ["4", "False"], done.stderr

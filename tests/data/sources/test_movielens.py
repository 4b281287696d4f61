# SPDX-License-Identifier: Apache-2.0
"""MovieLens by path, in its three layouts, and through TFDS."""

import contextlib
import functools
import http.server
import subprocess
import sys
import tempfile
import threading
import zipfile

import polars as pl
import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from genrec_jax.core import checksums
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Catalog, Histories
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import MovieLens, movielens_files, movielens_tfds

RATINGS = [(5, 1, 3.0, 100), (5, 2, 4.5, 90), (7, 1, 1.0, 50), (5, 3, 2, 100)]
FLAGS_100K = "|".join(["0"] * 5 + ["1"] + ["0"] * 12 + ["1"])
FILES = {
  "100k": {
    "ml-100k/u.data": "".join(
      f"{u}\t{i}\t{int(v)}\t{t}\n" for u, i, v, t in RATINGS
    ),
    "ml-100k/u.item": "".join(
      f"{i}|{title}|01-Jan-1995||http://x|{FLAGS_100K}\n"
      for i, title in ((1, 'Café "X" (1995)'), (2, "B (1996)"), (3, "C"))
    ),
    "ml-100k/README": "",
  },
  "1m": {
    "ml-1m/ratings.dat": "".join(
      f"{u}::{i}::{int(v)}::{t}\n" for u, i, v, t in RATINGS
    ),
    "ml-1m/movies.dat": (
      '1::Café "X" (1995)::Comedy|Western\n2::B (1996)::Drama\n3::C::War\n'
    ),
  },
  "20m": {
    "ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n"
    + "".join(f"{u},{i},{v},{t}\n" for u, i, v, t in RATINGS),
    "ml-20m/movies.csv": (
      'movieId,title,genres\n1,"Café ""X"" (1995)",Comedy|Western\n'
      "2,B (1996),Drama\n3,C,War\n"
    ),
  },
}


def _zip(path, variant):
  encoding = "utf-8" if variant == "20m" else "latin-1"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, text in FILES[variant].items():
      archive.writestr(name, text.encode(encoding))
  return path


@pytest.mark.parametrize("variant", ["100k", "1m", "20m"])
@pytest.mark.parametrize("form", ["zip", "folder", "parent"])
def test_every_layout_gives_the_same_log(tmp_path, variant, form):
  path = _zip(tmp_path / "ml.zip", variant)
  if form != "zip":
    with zipfile.ZipFile(path) as archive:
      archive.extractall(tmp_path)
    path = tmp_path if form == "parent" else tmp_path / f"ml-{variant}"
  source = MovieLens(variant, str(path))
  sequences = encode(source.fetch(tmp_path / "w").read())
  assert sequences.user_ids == ["5", "7"]
  # 50: item 1; 90: item 2; 100: 1 again and 3, in the order of the file.
  assert sequences.record(0)["item"].tolist() == [2, 1, 3]
  assert sequences.record(0)["time"].tolist() == [40, 50, 50]
  half = 4.5 if variant == "20m" else 4.0
  assert sequences.record(0)["value"].tolist() == [half, 3.0, 2.0]
  assert sequences.items["title"][0] == 'Café "X" (1995)'
  assert sequences.items["genres"][0] == "Comedy|Western"
  assert len(source.checksums()) == (1 if form == "zip" else 2)


def _read(variant, path):
  """In a folder of its own, as nothing is prepared from what is wrong."""
  with tempfile.TemporaryDirectory() as folder:
    return MovieLens(variant, str(path)).fetch(folder).read()


def test_zips_that_are_damaged_or_something_else_are_named(tmp_path):
  path = _zip(tmp_path / "ml.zip", "1m")
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match="ml.zip is truncated or no zip file"):
    _read("1m", str(path))
  start = whole.index(b"ratings.dat") + 20
  path.write_bytes(whole[:start] + b"\0\0\0\0" + whole[start + 4 :])
  with pytest.raises(ValueError, match="ratings.dat in .*ml.zip is truncated"):
    _read("1m", str(path))
  path.write_bytes(whole)
  with pytest.raises(ValueError, match="ml.zip holds no u.data.*ratings.dat"):
    _read("100k", str(path))
  with pytest.raises(ValueError, match="there is no file.* nowhere"):
    _read("1m", "nowhere")
  with pytest.raises(ValueError, match="holds no ratings.dat and movies.dat"):
    _read("1m", str(tmp_path))
  with pytest.raises(ValueError, match="100k, 1m, 20m, got '25m'"):
    MovieLens("25m")


def test_text_that_is_no_rating_is_named(tmp_path):
  (tmp_path / "ratings.dat").write_text("1::2::3::4\n1::two::3::4\n")
  (tmp_path / "movies.dat").write_text("1::A::War\n")
  with pytest.raises(ValueError, match="does not read as MovieLens 1m.*two"):
    _read("1m", str(tmp_path))


def test_movielens_100k(shared, tmp_path):
  path = str(shared / "data" / "ml-100k.zip")
  prepare(MovieLens("100k", path), LeaveOneOut(), tmp_path / "data")
  histories, catalog = Histories(tmp_path / "data"), Catalog(tmp_path / "data")
  assert histories.manifest.counts["out"] == 100_000
  assert (len(histories), catalog.num_items) == (943, 1_682)
  index = catalog.index_of(1)
  assert catalog.titles[index] == "Toy Story (1995)"
  assert catalog.attributes["genres"][index - 1] == (
    "Animation|Children's|Comedy"
  )
  assert {len(catalog.titles), len(catalog.ids)} == {1_683}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("variant", "name", "users", "movies"),
  [
    ("100k", "ml-100k.zip", 943, 1_682),
    ("1m", "ml-1m-users-1-2999.zip", 2_999, 3_883),
  ],
)
def test_tfds_reads_what_it_prepared(
  shared, tmp_path, variant, name, users, movies
):
  path = shared / "data" / name
  for kind, length in (("ratings", users), ("movies", movies)):
    builder = movielens_tfds.MovieLensHistories(
      config=f"{variant}-{kind}", data_dir=tmp_path, path=path
    )
    builder.download_and_prepare()
    source = tfds.data_source(
      f"movie_lens_histories/{variant}-{kind}",
      data_dir=tmp_path,
      split="train",
    )
    assert len(source) == length
  ratings, parsed = movielens_files.parse(variant, path)
  through = movielens_tfds.fetch(variant, tmp_path, path).read()
  assert through.events.drop("order").equals(ratings)
  assert through.items["title"].equals(parsed["title"])
  assert through.sources == checksums.sha256([path])
  # A folder prepared from another file is never taken for the publisher's.
  with pytest.raises(ValueError, match="not from the publisher's file"):
    movielens_tfds.fetch(variant, tmp_path)


class _Quiet(http.server.SimpleHTTPRequestHandler):
  """Serves a folder and says nothing."""

  def log_message(self, *_):
    pass


@contextlib.contextmanager
def _publisher(folder):
  handler = functools.partial(_Quiet, directory=str(folder))
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  try:
    yield f"http://127.0.0.1:{server.server_port}/ml-{{}}.zip"
  finally:
    server.shutdown()
    thread.join()
    server.server_close()


def _point_at(monkeypatch, url, path, digest):
  info = UrlInfo(path.stat().st_size, digest, path.name)
  monkeypatch.setattr(movielens_tfds, "_URL", url)
  monkeypatch.setattr(movielens_tfds, "_URL_INFOS", {"1m": info})
  builder = movielens_tfds.MovieLensHistories
  monkeypatch.setattr(builder, "url_infos", {url.format("1m"): info})


def test_a_download_is_prepared_under_the_workdir(tmp_path, monkeypatch):
  folder = tmp_path / "publisher"
  folder.mkdir()
  path = _zip(folder / "ml-1m.zip", "1m")
  digest = checksums.sha256([path])["ml-1m.zip"]
  workdir = tmp_path / "workdir"
  with _publisher(folder) as url:
    _point_at(monkeypatch, url, path, digest)
    manifest = prepare(MovieLens("1m"), LeaveOneOut(), workdir / "data")
  assert manifest.checksums == {"ml-1m.zip": digest}
  assert sorted(p.name for p in workdir.iterdir()) == ["data", "tfds"]
  record = Histories(workdir / "data")[0]
  assert record["item"].tolist() == [2, 1, 3]
  # Without the net: what is prepared is found, and TFDS has the rest.
  assert prepare(MovieLens("1m"), LeaveOneOut(), workdir / "data") == manifest
  again = prepare(MovieLens("1m"), LeaveOneOut(), workdir / "other")
  assert again.num_events == 4
  # The same file by path has the same fingerprint, and gives the same data.
  by_path = MovieLens("1m", str(path))
  assert prepare(by_path, LeaveOneOut(), workdir / "data") == manifest
  elsewhere = tmp_path / "elsewhere"
  assert prepare(by_path, LeaveOneOut(), elsewhere / "data") == manifest
  for name in ("catalog.parquet", "users.parquet"):
    ours, theirs = (w / "data" / name for w in (workdir, elsewhere))
    assert pl.read_parquet(ours).equals(pl.read_parquet(theirs))
  # What was prepared from it is not taken for another file's.
  other = _zip(tmp_path / "other.zip", "1m")
  with zipfile.ZipFile(other, "a") as archive:
    archive.writestr("more", "")
  with pytest.raises(ValueError, match="not from .*other.zip's file"):
    MovieLens("1m", str(other)).fetch(elsewhere)


def test_a_download_of_something_else_is_refused(tmp_path, monkeypatch):
  path = _zip(tmp_path / "ml-1m.zip", "1m")
  with _publisher(tmp_path) as url:
    _point_at(monkeypatch, url, path, "0" * 64)
    with pytest.raises(ValueError, match="not the file with SHA-256 0000"):
      prepare(MovieLens("1m"), LeaveOneOut(), tmp_path / "w" / "data")
  assert not (tmp_path / "w").exists()


def test_what_is_refused_after_a_download_leaves_nothing(tmp_path, monkeypatch):
  folder = tmp_path / "publisher"
  folder.mkdir()
  path = _zip(folder / "ml-1m.zip", "1m")
  digest = checksums.sha256([path])["ml-1m.zip"]
  refused = {"min_item_events": 100}
  workdir = tmp_path / "w"
  with _publisher(folder) as url:
    _point_at(monkeypatch, url, path, digest)
    with pytest.raises(ValueError):
      prepare(MovieLens("1m"), LeaveOneOut(), workdir / "data", **refused)
    assert not workdir.exists()
    # Nor is anything taken that was there before.
    workdir.mkdir()
    MovieLens("1m").fetch(workdir)
    before = sorted(workdir.rglob("*"))
    with pytest.raises(ValueError):
      prepare(MovieLens("1m"), LeaveOneOut(), workdir / "data", **refused)
  assert sorted(workdir.rglob("*")) == before


def test_without_the_net_the_error_says_how_to_give_a_path(
  tmp_path, monkeypatch
):
  def unreachable(*_, **__):
    raise requests.exceptions.ConnectionError("no route to host")

  monkeypatch.setattr(requests, "head", unreachable)
  message = "ml-1m.zip .*no route to host.*path='.../ml-1m.zip'.*data.path"
  with pytest.raises(ValueError, match=message):
    prepare(MovieLens("1m"), LeaveOneOut(), tmp_path / "data")
  assert not list(tmp_path.iterdir())
  with pytest.raises(ValueError, match="fetch.directory. as prepare|fetch"):
    MovieLens("1m").read()


def test_tensorflow_is_not_needed(tmp_path):
  path = _zip(tmp_path / "ml.zip", "1m")
  code = f"""
import sys
from genrec_jax.data.sources import movielens_tfds
builder = movielens_tfds.MovieLensHistories(
  config="1m-ratings", data_dir={str(tmp_path)!r}, path={str(path)!r}
)
builder.download_and_prepare()
print(len(builder.as_data_source("train")), "tensorflow" in sys.modules)
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert done.stdout.split()[-2:] == ["2", "False"], done.stderr


def test_ratings_keep_their_types(tmp_path):
  path = _zip(tmp_path / "ml.zip", "20m")
  events = _read("20m", str(path)).events
  assert events.schema == {
    "user": pl.Int32,
    "item": pl.Int32,
    "value": pl.Float32,
    "timestamp": pl.Int64,
    "order": pl.Int32,
  }

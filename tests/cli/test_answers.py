# SPDX-License-Identifier: Apache-2.0
"""What `genrec recommend` and `genrec rank` read and write, without training.

The models are formulas over one prepared data set.
"""

import datetime
import time

import numpy as np
import polars as pl
import pytest

from genrec_jax.cli import main, rank, recommend
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving import Recommender
from genrec_jax.serving.list_facts import ListFacts
from tests.serving.formula_ranker import formula_ranker, prepared

_READ = {
  "parquet": pl.read_parquet,
  "csv": pl.read_csv,
  "jsonl": pl.read_ndjson,
}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("answers") / "data")


@pytest.fixture
def genrec(histories, monkeypatch, tmp_path, capsys):
  """genrec(status, command, *flags): what it prints, and its errors."""
  vectors = np.eye(histories.manifest.num_items + 1, 4, dtype=np.float32)
  index = BruteForce.build(vectors)

  def search(requests, k, allowed):
    return index.search(np.ones((len(requests), 4), np.float32), k, allowed)

  model = Recommender(search, vectors, histories, batch_size=8)
  monkeypatch.setattr(recommend, "load", lambda *_, **__: model)
  ranker = formula_ranker(histories)
  monkeypatch.setattr(rank, "load_ranker", lambda *_, **__: ranker)
  monkeypatch.chdir(tmp_path)

  def run(status, *words):
    assert main.start([*words, "--workdir=w"]) == status
    return capsys.readouterr()

  run.ids, run.user = model.catalog.ids[1:], model.users.ids[0]
  return run


@pytest.mark.parametrize("kind", _READ)
def test_a_ranking_is_written_as_its_name_says(genrec, tmp_path, kind):
  path = tmp_path / f"ranked.{kind}"
  (tmp_path / "ids.txt").write_text("\n".join(genrec.ids[:7]))
  flags = ("--candidates=@ids.txt", "--user", genrec.user)
  genrec(0, "rank", *flags, f"--output={path}")
  assert len(_READ[kind](path)) == 7


@pytest.mark.parametrize(
  "flags",
  [
    ("rank", "--candidates=1", "--output=a.xlsx"),
    ("recommend", "--all-users", "--output=a.xlsx"),
  ],
)
def test_a_file_of_another_format_is_refused(genrec, tmp_path, flags):
  error = genrec(1, *flags).err
  assert "a.xlsx: name a file that ends in .parquet, .csv, .jsonl" in error
  assert not list(tmp_path.iterdir())


def test_lists_of_everyone_say_what_they_know(genrec, histories, tmp_path):
  before = time.time()
  genrec(0, "recommend", "--all-users", "--k=3", "--output=all.parquet")
  facts = ListFacts.read(tmp_path / "all.parquet")
  assert before <= facts.made <= time.time()
  last = max(
    histories.times(histories[user]).max() for user in range(len(histories))
  )
  assert facts.known_until == last.replace(tzinfo=datetime.UTC).timestamp()
  # Nothing names a run that was put together by hand.
  assert facts.model == ""
  # An evaluation's lists know less.
  flags = ("--all-users", "--as_of=test", "--output=test.parquet")
  genrec(0, "recommend", *flags)
  with pytest.raises(ValueError, match="does not say when its lists were made"):
    ListFacts.read(tmp_path / "test.parquet")


def test_unknown_ids_of_a_filter_are_counted(genrec):
  asked = ("recommend", "--user", genrec.user)
  there = genrec.ids[0]
  for flags, said in (
    ((f"--deny={there}",), None),
    (("--deny=",), None),
    ((f"--deny={there},x",), "--deny: 1 of 2 ids are no items of this run"),
    ((f"--deny={there},x",), "and change nothing: 'x'\n"),
    ((f"--allow=a,b,{there},c,d",), "--allow: 4 of 5 ids are no items"),
    ((f"--allow=a,b,{there},c,d",), "change nothing: 'a', 'b', 'c', ...\n"),
  ):
    error = genrec(0, *asked, *flags).err
    notes = [x for x in error.splitlines(True) if x.startswith("note: --")]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


@pytest.mark.parametrize("flag", ["deny", "allow", "candidates"])
def test_a_list_of_nothing_that_is_known_is_refused(genrec, tmp_path, flag):
  command = "rank" if flag == "candidates" else "recommend"
  asked = (command, "--user", genrec.user)
  first, second = genrec.ids[:2]
  for text, said in (
    (f"sku,name\n{first},One\n", f"more than an id: leave '{first}' of "),
    (f"{first}\tOne\n{second}\tTwo\n", f"leave '{first}' of '{first}\\tOne'"),
    ("x\ny\nz\nv\n", "'x', 'y', 'z', ... of 4 ids: this run knows none. Its"),
    ("x\n", f"Its ids look like '{first}': is the list of it?"),
  ):
    (tmp_path / "ids.txt").write_text(text)
    error = genrec(1, *asked, f"--{flag}=@ids.txt").err
    assert error.startswith(f"error: --{flag}: ") and said in error
  # The name of a file without @.
  error = genrec(1, *asked, f"--{flag}=ids.txt").err
  assert "ids.txt is a file: write @ids.txt." in error


def test_it_is_said_who_is_not_in_the_lists_of_everyone(genrec, tmp_path):
  path = tmp_path / "all.csv"
  flags = ("--all-users", f"--output={path}", f"--allow={genrec.ids[0]}")
  said = genrec(0, "recommend", *flags).out
  users = pl.read_csv(path)["user_id"].n_unique()
  assert 0 < users < 20
  assert f"wrote {users} rows of {users} users to {path}" in said
  assert (
    f"{20 - users} users are not in it: they have nothing left that may be"
    " recommended\n"
  ) in said
  said = genrec(0, "recommend", *flags, "--as_of=test").out
  assert "they have nothing withheld in the test part, or have nothing" in said

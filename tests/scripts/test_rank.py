# SPDX-License-Identifier: Apache-2.0
"""scripts/rank.py and the page of a ranker, by the commands that users type."""

import pathlib

import polars as pl
import pytest

from genrec_jax.serving import load_ranker
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _script(name, *arguments, code=0):
  done = commands.run([_ROOT / "scripts" / f"{name}.py", *arguments])
  assert done.returncode == code, done.stdout + done.stderr
  return done


@pytest.mark.slow
def test_a_ranker_is_trained_shown_and_asked(tmp_path):
  workdir = f"--workdir={tmp_path / 'run'}"
  config = f"{_ROOT / 'configs' / 'hstu_ranking_kuairand.py'}:quicktest"
  done = _script("run", f"--config={config}", workdir)
  assert "== report" in done.stdout
  page = (tmp_path / "run" / "report.html").read_text()
  assert page.count("<svg") == 7 and "Attention, summed over heads" in page
  catalog = pl.read_parquet(tmp_path / "run" / "data" / "catalog.parquet")
  users = pl.read_parquet(tmp_path / "run" / "data" / "users.parquet")
  asked = (
    workdir,
    f"--user={users['user_id'][0]}",
    f"--candidates={','.join(catalog['item_id'][:12])}",
  )
  output = tmp_path / "ranked.parquet"
  _script("rank", *asked, "--policy=sequential", "--k=3", f"--output={output}")
  assert len(pl.read_parquet(output)) == 3
  done = _script("rank", *asked, "--what_if=-1=cart,-2=removed")
  assert "-> cart" in done.stdout and "value_if" in done.stdout
  # Behind the user's events as a file, and behind nobody's.
  ranker = load_ranker(tmp_path / "run")
  user = users["user_id"][0]
  ranker.history(user).write_csv(tmp_path / "events.csv")
  given = f"--history=@{tmp_path / 'events.csv'}"
  printed = _script("rank", *asked).stdout
  assert _script("rank", *asked, given).stdout == printed
  stranger = _script("rank", asked[0], "--user=new", asked[2], "--history=gone")
  for part in ("no user 'new'", "1 of 1 items of a history are not in"):
    assert f"note: {part}" in stranger.stderr
  for wrong, message in (
    ("--history=@gone.csv", "--history=@gone.csv: there is no such file"),
    ("--policy=divers:attribute=category", "Did you mean 'diverse'"),
    ("--what_if=-5000=cart", "event -5000 is not in this history"),
    ("--weights=cat=1", "Did you mean 'cart'"),
  ):
    done = _script("rank", *asked, wrong, code=1)
    assert "error: " in done.stderr and message in done.stderr
    assert "Traceback" not in done.stderr

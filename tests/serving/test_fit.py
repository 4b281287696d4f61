# SPDX-License-Identifier: Apache-2.0
"""One call from a table to a recommender: what the script makes, to the bit."""

import json

import jax
import numpy as np
import polars as pl
import pytest

from configs import files, ranker_files, tiger_amazon
import genrec_jax
from genrec_jax.serving.fit import CONFIGS
from genrec_jax.train.workdir_lock import WorkdirLock
from tests import commands

_SMALL = {
  "train.steps": 4,
  "train.eval_every_steps": 2,
  "train.log_every_steps": 2,
  "system.width": 8,
  "system.backbone.num_layers": 1,
  "system.backbone.key_width": 8,
  "system.backbone.value_width": 8,
  "pipeline.batch_size": 8,
  "objective.negatives.count": 8,
}


@pytest.fixture(scope="module")
def events():
  rng = np.random.default_rng(0)
  return pl.DataFrame(
    {
      "Visitor_ID": np.repeat([f"v{u}" for u in range(40)], 9),
      "sku": [f"s{i}" for i in rng.integers(25, size=360)],
      "when": 1_700_000_000 + 3600 * np.arange(360),
    }
  )


@pytest.fixture(scope="module")
def items():
  rows = [(f"s{i}", f"Thing {i}", i % 3) for i in range(25)]
  return pl.DataFrame(rows, ["sku", "name", "size"], orient="row")


@pytest.fixture(scope="module")
def fitted(events, items, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("fit") / "run"
  model = genrec_jax.fit(events, items, "hstu_small", workdir, **_SMALL)
  return model, workdir


def test_what_is_fitted_can_be_asked(fitted):
  model, _ = fitted
  answer = model.recommend(user="v3", k=5)
  assert len(answer) == 5 and set(answer["source"]) == {"model"}
  assert all(title.startswith("Thing") for title in answer["title"])
  with pytest.warns(UserWarning, match="of k=10 items: the filters leave 8"):
    filtered = model.recommend(user="v3", where={"size": 1})
  assert set(filtered["title"]) <= {f"Thing {i}" for i in range(1, 25, 3)}
  assert len(model.similar_items("s1", k=3)) == 3


@pytest.mark.slow
def test_the_script_makes_the_same_parameters(events, items, tmp_path):
  events.write_csv(tmp_path / "events.csv")
  items.write_csv(tmp_path / "items.csv")
  # In a process of its own: this one has eight devices.
  program = tmp_path / "fit.py"
  program.write_text(
    "import json, sys, genrec_jax, polars as pl\n"
    "events, items, workdir, options = sys.argv[1:]\n"
    "genrec_jax.fit(pl.read_csv(events), pl.read_csv(items), 'hstu_small',"
    " workdir, **json.loads(options))\n"
  )
  tables = (str(tmp_path / f"{name}.csv") for name in ("events", "items"))
  fit = [str(program), *tables, str(tmp_path / "fit"), json.dumps(_SMALL)]
  done = commands.run(fit)
  assert done.returncode == 0, done.stderr
  data = {
    "path": tmp_path / "events.csv",
    "user": "Visitor_ID",
    "item": "sku",
    "timestamp": "when",
    "items_path": tmp_path / "items.csv",
    "items_item": "sku",
    "items_title": "name",
  }
  done = commands.run(
    [
      str(commands.ROOT / "scripts" / "train.py"),
      f"--config={commands.ROOT / 'configs' / 'hstu_files.py'}:small",
      f"--workdir={tmp_path / 'run'}",
      *(f"--config.data.{name}={value}" for name, value in data.items()),
      *(f"--config.{name}={value}" for name, value in _SMALL.items()),
    ]
  )
  assert done.returncode == 0, done.stderr
  a, b = (
    jax.device_get(genrec_jax.load(tmp_path / name).trained.loaded.params)
    for name in ("fit", "run")
  )
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_path_is_a_table_too(fitted, events, tmp_path):
  events.write_parquet(tmp_path / "log.parquet")
  model = genrec_jax.fit(
    str(tmp_path / "log.parquet"),
    config="hstu_small",
    workdir=tmp_path / "run",
    **_SMALL,
  )
  ours, theirs = (m.histories.manifest for m in (fitted[0], model))
  assert (ours.num_users, ours.num_events) == (theirs.num_users, 360)


def test_another_table_takes_no_place_of_the_first(fitted, events):
  _, workdir = fitted
  file = workdir / "input" / "events.parquet"
  before = file.read_bytes()
  with pytest.raises(ValueError, match="holds another table.*another workdir"):
    genrec_jax.fit(
      events.head(300), config="hstu_small", workdir=workdir, **_SMALL
    )
  assert file.read_bytes() == before
  assert not list(workdir.rglob("*.tmp-*"))


@pytest.mark.slow
def test_evaluate_and_save(fitted, tmp_path):
  model, workdir = fitted
  table = model.evaluate()
  assert {"HSTU (small)", "item_knn", "most_popular"} <= set(table["method"])
  assert (workdir / "evaluation.json").is_file()
  # What a training leaves there while it runs is not part of a copy.
  unfinished = model.trained.run.workdir / "checkpoints" / "9.tmp-1"
  unfinished.mkdir()
  try:
    with WorkdirLock(model.trained.run.workdir):
      model.save(tmp_path / "copy")
  finally:
    unfinished.rmdir()
  assert not list((tmp_path / "copy").rglob("*.lock"))
  assert not list((tmp_path / "copy").rglob("*.tmp-*"))
  copy = genrec_jax.load(tmp_path / "copy")
  assert copy.recommend(user="v3").equals(model.recommend(user="v3"))
  with pytest.raises(ValueError, match="is there: name a new folder"):
    model.save(tmp_path / "copy")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"config": "hstu_smal"}, "Did you mean 'hstu_small'"),
    ({"train.stepz": 3}, "config.train has no 'stepz'. Did you mean 'steps'"),
    ({"train": {"steps": -1}}, "must be at least 1"),
    ({"columns": {"user": "nobody"}}, "user='nobody', which is no column"),
    (
      {"items": pl.DataFrame({"x": ["a"]})},
      'looks like the item.*: item_columns={"item": ...}',
    ),
    ({"events": "nowhere.csv"}, "there is no file 'nowhere.csv'"),
    ({"events": 7}, "is no table"),
  ],
)
def test_bad_calls_are_clear_and_leave_nothing(
  events, changes, message, tmp_path
):
  given = {"events": events, "config": "hstu_small", "workdir": tmp_path / "x"}
  with pytest.raises(ValueError, match=message):
    genrec_jax.fit(**(given | changes))
  assert not (tmp_path / "x" / "config.json").exists()


def test_every_name_is_a_config():
  kinds = ("hstu", "sasrec", "tiger")
  assert set(CONFIGS) == {*kinds, *(f"{kind}_small" for kind in kinds)}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "options"),
  [
    ("sasrec_small", {"objective.negatives.count": 8}),
    (
      "tiger_small",
      {
        "tokens.tokenizer.level_sizes": (8, 8, 8),
        "system.level_sizes": (8, 8, 8, 64),
        "retrieval.num_beams": 16,
      },
    ),
  ],
)
def test_other_models_are_fitted_in_the_same_call(
  events, items, config, options, tmp_path
):
  options |= {"system.backbone.num_layers": 1, "pipeline.batch_size": 8}
  # Nothing is validated, so that the latest parameters are taken.
  options |= {"train.steps": 2, "train.eval_every_steps": 0}
  model = genrec_jax.fit(events, items, config, tmp_path / "run", **options)
  answer = model.recommend(user="v3", k=5)
  assert len(answer) == 5 and set(answer["source"]) == {"model"}
  assert (tmp_path / "run" / "tokens").exists() == ("tiger" in config)


def test_a_ranker_is_not_fitted(events, tmp_path):
  config = ranker_files.get_config("din/tasks=buy")
  with pytest.raises(ValueError, match="train a ranker with.*load_ranker"):
    genrec_jax.fit(events, config=config, workdir=tmp_path / "run")
  assert not (tmp_path / "run").exists()
  config = tiger_amazon.get_config("rqvae")
  config.data = files.data()
  with pytest.raises(ValueError, match="has rqvae trained first"):
    genrec_jax.fit(events, config=config, workdir=tmp_path / "run")

# SPDX-License-Identifier: Apache-2.0
"""RecTools' SASRec and HSTU on a data set that this library has prepared.

    python3.11 -m venv rectools
    rectools/bin/pip install torch 'rectools[torch]==0.19.0' pyarrow==17.0.0
    python scripts/bench.py events --workdir=WORKDIR --output=events.parquet
    rectools/bin/python scripts/peer_rectools.py train --events=events.parquet \
        --model=sasrec --save=sasrec.pkl [--epochs=100] [--minutes=60]
    rectools/bin/python scripts/peer_rectools.py speed --events=events.parquet
    rectools/bin/python scripts/peer_rectools.py recommend \
        --events=events.parquet --load=sasrec.pkl --output=recs.parquet

RecTools needs NumPy below 2, hence that pyarrow. It runs in an environment of
its own: this library needs neither RecTools nor PyTorch.
The models have the sizes of configs/sasrec_amazon.py and
configs/hstu_amazon.py, and their loss: cross-entropy over all items of cosines
over .07, Adam at 1e-3. Targets are ours, the epoch is chosen by NDCG@10 on
validation, ranks are of the whole catalogue with the history hidden. `train`
says the metrics on test as one JSON line and writes each user's rank beside the
model; `speed` trains for a number of steps and says sequences per second;
`recommend` writes user_id, item_id, score and rank of everyone.
"""

import argparse
import functools
import json
import logging
import pathlib
import resource
import sys
import time
from typing import Any
import warnings

try:
  import numpy as np
  import pandas as pd
  from pytorch_lightning import Trainer
  from rectools import Columns
  from rectools.dataset import Dataset
  from rectools.models import HSTUModel, SASRecModel, load_model
  import rectools.version
  import torch
except ImportError as error:
  raise SystemExit(
    f"{sys.executable} has no {error.name}: pip install torch"
    " 'rectools[torch]==0.19.0' pyarrow into an environment of their own."
  ) from error

_KS = (10, 200)
_MAX_LENGTH = 50
# Steps that are not timed.
_WARM_UP = 5


def new_trainer(epochs: int, steps: int = -1) -> Trainer:
  """One that writes nothing; RecTools takes it by its name."""
  return Trainer(
    max_epochs=epochs,
    max_steps=steps,
    accelerator="cpu",
    devices=1,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
  )


def new_model(name: str, batch_size: int, **trainer: int) -> Any:
  """A model of the size and the loss of our config."""
  common = {
    "n_blocks": 2,
    "n_heads": 2,
    "n_factors": 64,
    "session_max_len": _MAX_LENGTH,
    "dropout_rate": 0.5,
    "loss": "softmax",
    "lr": 1e-3,
    "batch_size": batch_size,
    "similarity_module_kwargs": {"distance": "cosine"},
    "lightning_module_kwargs": {"logits_t": 0.07},
    "get_trainer_func": new_trainer,
    "get_trainer_func_kwargs": trainer,
  }
  if name == "hstu":
    return HSTUModel(
      relative_time_attention=True, relative_pos_attention=True, **common
    )
  return SASRecModel(**common)


def read_events(path: str) -> pd.DataFrame:
  """Events in RecTools' columns, and the part that each is the target of."""
  events = pd.read_parquet(path)
  return events.assign(
    **{
      Columns.Datetime: pd.to_datetime(events["time"], unit="s"),
      Columns.Weight: 1.0,
    }
  )


def dataset(events: pd.DataFrame) -> Dataset:
  """RecTools' data set of these events."""
  return Dataset.construct(events[Columns.Interactions])


def lists(
  model: Any, seen: pd.DataFrame, targets: pd.DataFrame | None, k: int
) -> pd.DataFrame:
  """The k best unseen items behind `seen`, for the users of the targets."""
  of = seen if targets is None else targets
  context = None
  if model.require_recommend_context:
    # HSTU asks at a time: the target's own, or the last event's.
    context = of.groupby(Columns.User, as_index=False).agg(
      {Columns.Datetime: "max"}
    )
    context[Columns.Weight] = 1.0
  return model.recommend(
    users=of[Columns.User].unique(),
    dataset=dataset(seen),
    k=k,
    filter_viewed=True,
    context=context,
    on_unsupported_targets="ignore",
  )


def ranks(
  model: Any, seen: pd.DataFrame, targets: pd.DataFrame, k: int
) -> pd.Series:
  """The place of each user's target, from 1; 0 where it is not in the list."""
  found = lists(model, seen, targets, k)
  pairs = targets[[Columns.User, Columns.Item]].merge(
    found[[Columns.User, Columns.Item, Columns.Rank]], how="left"
  )
  place = pairs[Columns.Rank].fillna(0).astype(int)
  return pd.Series(place.to_numpy(), index=pairs[Columns.User])


def metrics(place: pd.Series) -> dict[str, float]:
  """HR and NDCG, one target a user."""
  values = place.to_numpy()
  found = {}
  for k in _KS:
    hit = (values > 0) & (values <= k)
    gain = np.where(hit, 1 / np.log2(np.maximum(values, 1) + 1), 0)
    found |= {f"hr@{k}": hit.mean(), f"ndcg@{k}": gain.mean()}
  return {name: round(float(value), 5) for name, value in found.items()}


def train(args: argparse.Namespace) -> dict[str, Any]:
  """Trains until validation has not improved, and measures on test."""
  events = read_events(args.events)
  training = events[events["part"] == "train"]
  validation = events[events["part"] == "validation"]
  test = events[events["part"] == "test"]
  model = new_model(args.model, args.batch_size, epochs=args.epochs)
  best, best_epoch, seconds, stopped = -1.0, 0, 0.0, "epochs"
  users = training[Columns.User].nunique()
  data = dataset(training)
  for epoch in range(1, args.epochs + 1):
    started = time.perf_counter()
    model.fit_partial(data, min_epochs=1, max_epochs=1)
    seconds += time.perf_counter() - started
    ndcg = metrics(ranks(model, training, validation, _KS[0]))["ndcg@10"]
    print(
      f"epoch {epoch}: validation ndcg@10 {ndcg:.4f}, {seconds:.0f} s",
      file=sys.stderr,
      flush=True,
    )
    if ndcg > best:
      best, best_epoch = ndcg, epoch
      model.save(args.save)
    if epoch - best_epoch >= args.patience:
      stopped = "patience"
      break
    if seconds > 60 * args.minutes:
      stopped = "time"
      break
  model = load_model(args.save)
  seen = events[events["part"] != "test"]
  place = ranks(model, seen, test, max(_KS))
  place.rename("rank").to_frame().to_parquet(
    pathlib.Path(args.save).with_suffix(".ranks.parquet")
  )
  return {
    "epochs": epoch,
    "best_epoch": best_epoch,
    "stopped": stopped,
    "train_seconds": round(seconds, 1),
    "sequences_per_second": round(users * epoch / seconds, 1),
    "validation": {"ndcg@10": best},
    "test": metrics(place),
  }


def speed(args: argparse.Namespace) -> dict[str, Any]:
  """Sequences per second of steps behind those that warm up."""
  events = read_events(args.events)
  training = events[events["part"] == "train"]
  clock = []
  steps = _WARM_UP + args.steps
  model = new_model(args.model, args.batch_size, epochs=1, steps=steps)
  model._build_model_from_dataset(dataset(training))
  step = model.lightning_model.training_step

  @functools.wraps(step)
  def timed(*batch, **named):
    clock.append(time.perf_counter())
    return step(*batch, **named)

  model.lightning_model.training_step = timed
  new_trainer(1, steps).fit(
    model.lightning_model, model.data_preparator.get_dataloader_train()
  )
  seconds = (clock[-1] - clock[_WARM_UP]) / (len(clock) - _WARM_UP - 1)
  return {
    "steps": len(clock) - _WARM_UP - 1,
    "seconds_per_step": round(seconds, 4),
    "sequences_per_second": round(args.batch_size / seconds, 1),
  }


def recommend(args: argparse.Namespace) -> dict[str, Any]:
  """Lists of everyone, and how long they took."""
  model = load_model(args.load)
  events = read_events(args.events)
  started = time.perf_counter()
  found = lists(model, events, None, args.k)
  seconds = time.perf_counter() - started
  found.to_parquet(args.output, index=False)
  users = events[Columns.User].nunique()
  return {
    "users": users,
    "rows": len(found),
    "users_per_second": round(users / seconds, 1),
  }


def main() -> None:
  """Does one of them and prints a JSON line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("what", choices=("train", "speed", "recommend"))
  parser.add_argument("--events", required=True)
  parser.add_argument("--model", choices=("sasrec", "hstu"), default="sasrec")
  parser.add_argument("--batch_size", type=int, default=128)
  parser.add_argument("--epochs", type=int, default=100)
  parser.add_argument("--patience", type=int, default=5)
  parser.add_argument("--minutes", type=float, default=60)
  parser.add_argument("--steps", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--k", type=int, default=200)
  parser.add_argument("--save", default="rectools.pkl")
  parser.add_argument("--load", default="rectools.pkl")
  parser.add_argument("--output", default="recommendations.parquet")
  args = parser.parse_args()
  warnings.simplefilter("ignore")
  logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
  torch.manual_seed(args.seed)
  np.random.seed(args.seed)
  facts = {
    "name": "RecTools",
    "version": rectools.version.VERSION,
    "torch": torch.__version__,
    "threads": torch.get_num_threads(),
    "what": args.what,
  }
  if args.what != "recommend":
    facts |= {"model": args.model, "batch_size": args.batch_size}
  parts = {"train": train, "speed": speed, "recommend": recommend}
  found = parts[args.what](args)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  print(json.dumps(facts | found | {"peak_mb": round(peak / 1e3)}))


if __name__ == "__main__":
  main()

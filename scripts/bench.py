# SPDX-License-Identifier: Apache-2.0
"""Times or counts a part of the library and prints one JSON line.

    python scripts/bench.py train_step --config=configs/hstu_movielens.py
    python scripts/bench.py pipeline --config=... [--workdir=...]
    python scripts/bench.py attention --topology=v5e:2x2 --length=4096 [--json]
    python scripts/bench.py decoding --config=configs/tiger_amazon.py \
        [--peer_python=...]
    python scripts/bench.py rollouts \
        --config=configs/tiger_amazon.py:decoder_only-policy
    python scripts/bench.py rollouts \
        --config=configs/onerec_retail.py:preference --events=30
    python scripts/bench.py candidates [--layout=interleaved]
    python scripts/bench.py served_rankers [--events=512] [--json]
    python scripts/bench.py utilisation [--token_width=768] [--json]
    python scripts/bench.py layouts
    python scripts/bench.py recommend --workdir=... [--peer_python=... \
        --peer_model=...]
    python scripts/bench.py events --workdir=... --output=events.parquet
    python scripts/bench.py fused_search --config=configs/cobra_amazon.py
    python scripts/bench.py item_encoding --config=configs/cobra_amazon.py
    python scripts/bench.py negatives --config=configs/sasrec_amazon.py:sampled
    python scripts/bench.py scann --workdir=...
    python scripts/bench.py clusters --workdir=...
    python scripts/bench.py serving --config=configs/hstu_movielens.py:20m

train_step: the very step that scripts/train.py runs, on full rows of random
events (no data is needed; --num_items, --events and --row_length set sizes).
pipeline: the input pipeline alone, on simulated histories of --events events,
or on the data set of a workdir.
attention: the TPU compiler's static schedule of this library's attention, plain
and with the roles of rankers, and of JAX's splash attention, on any machine
with libtpu (the `aot` extra); a table, or with --json one line.
decoding: users per second of beam search with a trie, with item masks, and
without either; --peer_python, an interpreter with torch and transformers, lets
Hugging Face's T5 take turns (--steps batches each; --beams, --events items of a
history).
rollouts: lists per second that training on samples draws, with their rewards
and log-probabilities (--beams items, or lists of the config's size, by beams, 0
= as the config draws; --batch_size requests, --events items of a history).
candidates: --candidates items behind a history of --events (1,024), in one pass
against the kept history and each alone.
served_rankers: candidates per second behind one user of --events (512), by what
is kept of the history, by the history anew, and one by one: three rankers, or
that of --config, 64 and 512 --candidates; a table, or with --json one line.
utilisation: FLOPs per second and MFU of RankMixer's tokens (--token_width 256,
--batch_size 256 rows, --dtype) beside a DLRM of 40 small --towers, forward and
with gradients; a table, or with --json one line.
layouts: training steps and requests of one and of two tokens an event, with
learned biases and with slopes, histories of --events (512), --batch_size rows.
recommend: users per second of whole processes that write lists of --k (200) for
all users of a run; with --peer_python RecTools takes turns, by a model that
scripts/peer_rectools.py has trained.
events: writes the events of a run's data set for that script.
fused_search: users per second of lists by beams of codes and vectors (--beams,
--events items of a history, --num_items), the clusters of IDs from a table in
the same program and from an index on the host.
item_encoding: a train step that encodes the batch's items beside one that finds
their vectors ready, with the FLOPs of both.
negatives: train steps with --k (1,024) hard negatives of a block of 8 K, and
with as many uniform ones; --per_position times those of each position too, with
and without the mask of what their user takes later.
scann: ScaNN tuned to --recall of its first --k against exact search, on
--num_items (1,000,000) vectors made of a trained run's.
clusters: nearest items within the clusters of --beams IDs, from the table and
from the index, beside search of the whole catalogue, on the same vectors.
serving: requests a second of a service with drawn weights, one at a time and in
batches of --serve_batch, without and with a cache of --cache_mb, by the engine
and over HTTP: capacity, --loads of it, recovery. A table, and the JSON line.
--num_users of --events (200), --candidates (100) of a ranker, --k (10) places;
--workdir keeps the run. docs/serving.md has the commands and what they gave.
"""

from collections.abc import Mapping
import importlib
import json
import pathlib
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags

from genrec_jax.core.build import build_options
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.experiment.sections import check_config

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to time.")
_STEPS = flags.DEFINE_integer("steps", 10, "Timed steps; the median counts.")
_NUM_ITEMS = flags.DEFINE_integer(
  "num_items",
  None,
  "Items V; default 3,706, for fused_search, item_encoding and negatives"
  " 12,101, for scann and clusters 1,000,000.",
)
_EVENTS = flags.DEFINE_integer(
  "events", None, "Events per row; default: the layout's max_length."
)
_ROW_LENGTH = flags.DEFINE_integer(
  "row_length", None, "Tokens per row; default: the config's."
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", None, "Rows; default: the config's."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "pipeline: read this run's data set; serving: keep it here."
)
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "attention: for what.")
_LENGTH = flags.DEFINE_integer("length", 4096, "attention: events of a row.")
_HEADS = flags.DEFINE_integer("heads", 2, "attention: heads.")
_WIDTH = flags.DEFINE_integer("width", 128, "attention: width of a head.")
_SPLASH_BLOCK = flags.DEFINE_integer(
  "splash_block",
  512,
  "attention: queries and keys of splash's blocks; 0 leaves splash out.",
)
_ROLES = flags.DEFINE_boolean(
  "roles", True, "attention: with the roles of rankers too."
)
_BEAMS = flags.DEFINE_integer(
  "beams",
  20,
  "decoding, fused_search, rollouts: beams; clusters: IDs of a request.",
)
_PEER_PYTHON = flags.DEFINE_string(
  "peer_python",
  None,
  "decoding: interpreter that runs scripts/peer_t5.py; recommend: one that runs"
  " scripts/peer_rectools.py.",
)
# decoding: requests at a time, and items of their histories.
_DECODED, _HISTORY = 64, 20
_CANDIDATES = flags.DEFINE_integer(
  "candidates",
  None,
  "How many: candidates 2,048, served_rankers 64 and then 512, serving 100.",
)
_TOKEN_WIDTH = flags.DEFINE_integer(
  "token_width", 256, "utilisation: of a token; 768 is published."
)
_TOWERS = flags.DEFINE_integer("towers", 40, "utilisation: small ones.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "utilisation: of products."
)
_MICRO_BATCH = flags.DEFINE_integer(
  "micro_batch", 256, "candidates: at a time."
)
_ALONE = flags.DEFINE_integer(
  "alone", 8, "candidates: how many are scored alone; the rest is multiplied."
)
_LAYOUT = flags.DEFINE_enum(
  "layout",
  "action_oriented",
  ["action_oriented", "interleaved"],
  "candidates: tokens of the history, one or two an event.",
)
# layouts: rows of a step.
_LAYOUT_ROWS = 4
_LAYERS = flags.DEFINE_integer("layers", 3, "layouts: of the stack.")
_K = flags.DEFINE_integer(
  "k",
  None,
  "Places of a list: recommend 200, scann and clusters 100, serving 10;"
  " negatives 1,024.",
)
_PER_POSITION = flags.DEFINE_bool(
  "per_position", False, "negatives: those of each position as well."
)
_RECALL = flags.DEFINE_float("recall", 0.95, "scann, clusters: to be reached.")
_PEER_MODEL = flags.DEFINE_string(
  "peer_model", None, "recommend: file that scripts/peer_rectools.py wrote."
)
_NUM_USERS = flags.DEFINE_integer("num_users", 1000, "serving: of the log.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "serving: of each load.")
_LOADS = flags.DEFINE_list(
  "loads", ["0.5", "0.8", "1", "2", "3"], "serving: times the capacity."
)
_SERVE_BATCH = flags.DEFINE_integer("serve_batch", 16, "serving: the largest.")
_CACHE_MB = flags.DEFINE_float("cache_mb", 1024.0, "serving: of the cache.")
_ZIPF = flags.DEFINE_float("zipf", 1.0, "serving: exponent of users' rates.")
_DEADLINE = flags.DEFINE_integer("deadline_ms", 250, "serving: of requests.")
_LIMIT = flags.DEFINE_float(
  "limit_ms", 100.0, "serving: of the 99th percentile, for the largest rate."
)
_HTTP = flags.DEFINE_bool("http", True, "serving: over HTTP too.")
_OUTPUT = flags.DEFINE_string("output", None, "events: file to write.")
_JSON = flags.DEFINE_bool(
  "json", False, "One JSON line, where there is a table."
)
# served_rankers: by the name that the table shows, names in configs/.
_SERVED = {
  "LONGER": "longer_kuairand",
  "LinkedIn": "linkedin_kuairand",
  "HSTU": "hstu_ranking_kuairand",
}


def _config() -> tuple[dict[str, Any], PipelineOptions, int]:
  """The config with the shapes that flags ask for, and events per row."""
  if _CONFIG.value is None:
    raise app.UsageError("--config says what to time.")
  config = check_config(_CONFIG.value)
  for name, value in (
    ("batch_size", _BATCH_SIZE.value),
    ("row_length", _ROW_LENGTH.value),
  ):
    if value:
      config["pipeline"][name] = value
  options = build_options(
    PipelineOptions, config["pipeline"], where="config.pipeline"
  )
  return config, options, _EVENTS.value or options.layout.max_length


def _num_items(default: int = 3706) -> int:
  return _NUM_ITEMS.value or default


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
  return {"config": config["name"], "device": _device()}


def _device() -> str:
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def train_step() -> dict[str, Any]:
  """Seconds of a training step."""
  from genrec_jax.bench.train_step import time_train_step

  config, _, events = _config()
  result = time_train_step(
    config, num_items=_num_items(), events=events, steps=_STEPS.value
  )
  return _facts(config) | result


def pipeline() -> dict[str, Any]:
  """Tokens per second of the pipeline."""
  from genrec_jax.bench.pipeline import SimulatedHistories, time_pipeline

  config, options, events = _config()
  if _WORKDIR.value:
    histories = Histories(f"{_WORKDIR.value}/data")
  else:
    # Two events are held out, and n inputs need n + 1 events.
    histories = SimulatedHistories(4096, events + 3, _num_items())
  result = time_pipeline(options, histories, batches=5 * _STEPS.value)
  return _facts(config) | result


def attention() -> dict[str, Any] | str:
  """Bundles of attention kernels."""
  from genrec_jax.bench.attention import attention_bench, table

  result = attention_bench(
    _TOPOLOGY.value,
    _LENGTH.value,
    _HEADS.value,
    _WIDTH.value,
    _SPLASH_BLOCK.value,
    _ROLES.value,
  )
  return result if _JSON.value else table(result)


def decoding() -> dict[str, Any]:
  """Users per second of beam search."""
  from genrec_jax.bench.decoding import time_decoding

  config, _, _ = _config()
  batch_size = _BATCH_SIZE.value or _DECODED
  history = _EVENTS.value or _HISTORY
  peer = None
  if _PEER_PYTHON.value:
    peer = [
      _PEER_PYTHON.value,
      str(pathlib.Path(__file__).with_name("peer_t5.py")),
      f"--batch_size={batch_size}",
      f"--num_beams={_BEAMS.value}",
      f"--items={history}",
    ]
  result = time_decoding(
    config,
    num_items=_num_items(),
    num_beams=_BEAMS.value,
    batch_size=batch_size,
    history=history,
    turns=_STEPS.value,
    peer=peer,
  )
  return _facts(config) | result


def rollouts() -> dict[str, Any]:
  """Lists per second that are drawn to be trained on."""
  from genrec_jax.bench.rollouts import time_rollouts

  config, _, _ = _config()
  result = time_rollouts(
    config,
    num_items=_num_items(12_101),
    num_beams=_BEAMS.value,
    requests=_BATCH_SIZE.value or _DECODED,
    history=_EVENTS.value or _HISTORY,
    turns=_STEPS.value,
  )
  return _facts(config) | result


def candidates() -> dict[str, Any]:
  """Seconds of scoring candidates together and alone."""
  from genrec_jax.bench.candidates import time_candidates

  result = time_candidates(
    layout=_LAYOUT.value,
    num_items=_num_items(),
    events=_EVENTS.value or 1024,
    candidates=_CANDIDATES.value or 2048,
    micro_batch=_MICRO_BATCH.value,
    repeats=_STEPS.value,
    alone=_ALONE.value,
  )
  return {"device": _device()} | result


def served_rankers() -> dict[str, Any] | str:
  """Candidates per second behind one user."""
  from genrec_jax.bench.served_rankers import table, time_served_rankers

  if _CONFIG.value is None:
    configs = {
      title: check_config(
        importlib.import_module(f"configs.{name}").get_config()
      )
      for title, name in _SERVED.items()
    }
  else:
    config = check_config(_CONFIG.value)
    configs = {config["title"]: config}
  counts = (64, 512) if _CANDIDATES.value is None else (_CANDIDATES.value,)
  result = time_served_rankers(
    configs,
    events=_EVENTS.value or 512,
    candidates=counts,
    num_items=_num_items(),
    repeats=_STEPS.value,
  )
  return {"device": _device()} | result if _JSON.value else table(result)


def utilisation() -> dict[str, Any] | str:
  """FLOPs per second of two ways of crossing features."""
  from genrec_jax.bench.utilisation import table, time_utilisation

  result = time_utilisation(
    rows=(_BATCH_SIZE.value or 256,),
    width=_TOKEN_WIDTH.value,
    dtype=_DTYPE.value,
    repeats=_STEPS.value,
    towers=_TOWERS.value,
  )
  return {"device": _device()} | result if _JSON.value else table(result)


def layouts() -> dict[str, Any]:
  """Seconds of training steps and requests by layout and bias."""
  from genrec_jax.bench.layouts import time_layouts

  result = time_layouts(
    events=_EVENTS.value or 512,
    batch_size=_BATCH_SIZE.value or _LAYOUT_ROWS,
    num_items=_num_items(),
    steps=_STEPS.value,
    layers=_LAYERS.value,
  )
  return {"device": _device()} | result


def recommend() -> dict[str, Any]:
  """Users per second of whole processes."""
  from genrec_jax.bench.recommend import time_recommend

  if not _WORKDIR.value:
    raise app.UsageError("recommend needs --workdir.")
  if (_PEER_PYTHON.value is None) != (_PEER_MODEL.value is None):
    raise app.UsageError("--peer_python and --peer_model belong together.")
  peer = None
  if _PEER_PYTHON.value:
    script = pathlib.Path(__file__).with_name("peer_rectools.py")
    peer = [_PEER_PYTHON.value, str(script), "recommend"]
    peer.append(f"--load={_PEER_MODEL.value}")
  result = time_recommend(
    _WORKDIR.value, k=_K.value or 200, pairs=_STEPS.value, peer=peer
  )
  return {"device": _device()} | result


def events() -> dict[str, Any]:
  """Writes the events of a run's data set."""
  from genrec_jax.bench.recommend import write_events

  if not (_WORKDIR.value and _OUTPUT.value):
    raise app.UsageError("events needs --workdir and --output.")
  return write_events(Histories(f"{_WORKDIR.value}/data"), _OUTPUT.value)


def fused_search() -> dict[str, Any]:
  """Users per second of a search through codes and vectors."""
  from genrec_jax.bench.fused_search import time_fused_search

  config, _, _ = _config()
  result = time_fused_search(
    config,
    num_items=_num_items(12_101),
    num_beams=_BEAMS.value,
    batch_size=_BATCH_SIZE.value or _DECODED,
    history=_EVENTS.value or _HISTORY - 1,
    turns=_STEPS.value,
  )
  return _facts(config) | result


def item_encoding() -> dict[str, Any]:
  """Seconds of a step that encodes items, and of one that does not."""
  from genrec_jax.bench.item_encoding import time_item_encoding

  config, _, events = _config()
  result = time_item_encoding(
    config, num_items=_num_items(12_101), events=events, turns=_STEPS.value
  )
  return _facts(config) | result


def negatives() -> dict[str, Any]:
  """Seconds of a step with hard negatives, and with uniform ones."""
  from genrec_jax.bench.negatives import time_negatives

  config, _, events = _config()
  result = time_negatives(
    config,
    num_items=_num_items(12_101),
    events=events,
    turns=_STEPS.value,
    count=_K.value or 1024,
    per_position=_PER_POSITION.value,
  )
  return _facts(config) | result


def scann() -> dict[str, Any]:
  """Recall and speed of ScaNN against exact search."""
  from genrec_jax.bench.approximate import time_approximate

  return {"device": _device()} | time_approximate(**_vectors())


def clusters() -> dict[str, Any]:
  """Seconds of search within clusters and of the whole catalogue."""
  from genrec_jax.bench.clusters import time_clusters

  result = time_clusters(num_clusters=_BEAMS.value, **_vectors())
  return {"device": _device()} | result


def serving() -> dict[str, Any]:
  """Requests per second of a service, and what it does with too many."""
  try:
    from genrec_jax.bench.serving import table, time_serving
    from genrec_jax.bench.serving_load import ServingOptions
  except ImportError as error:
    raise ValueError(
      f"serving needs {error.name}: pip install 'genrec_jax[serve]'"
    ) from error

  config, _, _ = _config()
  options = ServingOptions(
    num_users=_NUM_USERS.value,
    num_items=_num_items(),
    events=_EVENTS.value or 200,
    candidates=_CANDIDATES.value or 100,
    k=_K.value or 10,
    batch=_SERVE_BATCH.value,
    cache_mb=_CACHE_MB.value,
    exponent=_ZIPF.value,
    loads=tuple(float(text) for text in _LOADS.value),
    seconds=_SECONDS.value,
    deadline_ms=_DEADLINE.value,
    limit_ms=_LIMIT.value,
    http=_HTTP.value,
  )
  result = time_serving(config, options, _WORKDIR.value)
  print(table(result))
  return {"device": _device()} | result


def _vectors() -> dict[str, Any]:
  """What scann and clusters have in common."""
  if not _WORKDIR.value:
    raise app.UsageError("name a trained run with item vectors: --workdir.")
  return {
    "workdir": _WORKDIR.value,
    "num_items": _num_items(1_000_000),
    "k": _K.value or 100,
    "recall": _RECALL.value,
    "batch_size": _BATCH_SIZE.value or _DECODED,
    "turns": _STEPS.value,
  }


_PARTS = {
  "train_step": train_step,
  "pipeline": pipeline,
  "attention": attention,
  "decoding": decoding,
  "rollouts": rollouts,
  "candidates": candidates,
  "served_rankers": served_rankers,
  "utilisation": utilisation,
  "layouts": layouts,
  "recommend": recommend,
  "events": events,
  "fused_search": fused_search,
  "item_encoding": item_encoding,
  "negatives": negatives,
  "scann": scann,
  "clusters": clusters,
  "serving": serving,
}


def main(argv: list[str]) -> None:
  """Times the part named on the command line."""
  if len(argv) != 2 or argv[1] not in _PARTS:
    raise app.UsageError(f"name one of {', '.join(_PARTS)}.")
  try:
    result = _PARTS[argv[1]]()
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  if isinstance(result, str):
    print(result)
    return
  print(json.dumps({"bench": argv[1], "jax": jax.__version__} | result))


if __name__ == "__main__":
  app.run(main)

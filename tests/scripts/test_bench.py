# SPDX-License-Identifier: Apache-2.0
"""scripts/bench.py prints one JSON line with what it promises."""

import importlib.util
import json
import pathlib

import pytest

from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_COMPILES = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)


def _bench(*words):
  return commands.run([_ROOT / "scripts" / "bench.py", *words])


@pytest.mark.parametrize(
  ("part", "names"),
  [
    (
      "train_step",
      {
        "seconds_per_step",
        "tokens_per_second",
        "compile_seconds",
        "peak_memory_bytes",
      },
    ),
    ("pipeline", {"tokens_per_second", "fill"}),
  ],
)
def test_one_json_line(part, names):
  done = _bench(
    part,
    f"--config={_ROOT / 'configs' / 'hstu_movielens.py'}:quicktest",
    "--steps=2",
    "--num_items=50",
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert names <= set(result)
  assert result["tokens_per_second"] > 0


@pytest.mark.slow
def test_decoding_is_timed_with_and_without_a_trie():
  done = _bench(
    "decoding",
    f"--config={_ROOT / 'configs' / 'tiger_amazon.py'}:decoder_only-quicktest",
    "--steps=2",
    "--num_items=50",
    "--events=3",
    "--beams=4",
    "--batch_size=4",
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["constrained_users_per_second"] > 0
  assert result["constrained_per_unconstrained"] > 0
  done = _bench(
    "decoding", f"--config={_ROOT / 'configs' / 'hstu_movielens.py'}:quicktest"
  )
  assert done.returncode != 0
  assert "does not generate items" in done.stderr


@pytest.mark.slow
def test_candidates_in_one_pass_are_each_alone():
  done = _bench(
    "candidates",
    *("--events=20", "--candidates=12", "--micro_batch=5", "--alone=2"),
    *("--steps=1", "--num_items=50"),
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["largest_relative_difference"] < 1e-5
  # Else that would say nothing.
  assert result["relative_difference_without_history"] > 1e-3
  assert result["one_by_one_is"].startswith("12 times")


@pytest.mark.slow
def test_crossed_features_are_a_line_of_both_models():
  done = _bench(
    *("utilisation", "--token_width=16", "--batch_size=4", "--towers=2"),
    *("--steps=1", "--json"),
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["token_width"] == 16 and result["towers"] == 2
  assert [*result["models"]] == ["small towers", "mixed tokens"]


@pytest.mark.slow
def test_layouts_read_the_same_events_with_half_the_tokens():
  done = _bench(
    "layouts",
    *("--events=24", "--batch_size=2", "--steps=1", "--num_items=50"),
    "--layers=1",
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  tokens = [v["tokens_per_row"] for v in result["variants"].values()]
  asked = tokens[2] * 2 - tokens[0]
  assert tokens[:2] == [48 + asked] * 2 and tokens[2:] == [24 + asked] * 2
  assert result["analytic"]["attention_flops"] < 0.26
  assert all(v["temporary_bytes"] > 0 for v in result["variants"].values())


_CODES_AND_VECTORS = (
  f"--config={_ROOT / 'configs' / 'cobra_amazon.py'}:quicktest",
  *("--steps=1", "--num_items=50"),
)


@pytest.mark.slow
def test_both_ways_of_searching_clusters_give_the_same_lists():
  done = _bench(
    "fused_search",
    *_CODES_AND_VECTORS,
    *("--events=3", "--beams=4", "--batch_size=4"),
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["same_lists"] is True
  assert result["table_users_per_second"] > 0
  assert result["index_users_per_second"] > 0


@pytest.mark.slow
def test_requests_of_a_service_are_counted():
  """Four services, one after the other: each compiles its own programs."""
  done = _bench(
    "serving",
    f"--config={_ROOT / 'configs' / 'hstu_movielens.py'}:quicktest",
    *("--num_users=12", "--num_items=30", "--events=20", "--nohttp"),
    *("--seconds=0.3", "--loads=0.5,2", "--serve_batch=2", "--cache_mb=1"),
    "--deadline_ms=5000",
  )
  assert done.returncode == 0, done.stderr
  *table, line = done.stdout.splitlines()
  result = json.loads(line)
  cells = [(row["batch"], row["cache_mb"]) for row in result["rows"]]
  assert cells == [(1, 0), (1, 1), (2, 0), (2, 1)]
  # A line of a cell and one of each load, two ahead, three ratios behind.
  assert len(table) == 2 + 4 * 3 + 3
  for row in result["rows"]:
    assert row["compiled_when_ready"] == 0
    for load in row["loads"]:
      parts = ("answered", "refused", "late")
      assert sum(load[name] for name in parts) == load["requests"] > 0
    # Histories do not change, and nothing is left out at half the capacity.
    hits = row["loads"][0]["hit_rate"]
    assert hits == 0 if not row["cache_mb"] else hits > 0.8


@pytest.mark.slow
def test_a_step_that_encodes_items_has_more_flops_than_one_that_does_not():
  done = _bench("item_encoding", *_CODES_AND_VECTORS, "--events=9")
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["flops_encoded_per_cached"] > 1
  assert result["encoded_per_cached"] > 0
  assert 0 < result["distinct_items"] <= 50


@pytest.mark.slow
def test_negatives_of_each_position_take_the_memory_that_shared_ones_do_not():
  done = _bench(
    "negatives",
    *("--config=configs/sasrec_amazon.py:sampled-quicktest", "--steps=2"),
    *("--num_items=2000", "--events=9", "--k=8", "--per_position"),
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["block"] == 64 and result["hard_per_shared"] > 0
  held = result["temporary_bytes"]
  assert held["position"] > held["shared"]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "layers", "drawer", "items"),
  [
    ("tiger_amazon.py:decoder_only-policy", "num_layers", "BeamItems", 1),
    (
      "onerec_retail.py:dense-preference",
      "num_decoder_layers",
      "BestLists",
      5,
    ),
  ],
)
def test_lists_that_are_drawn_to_be_trained_on_are_timed(
  config, layers, drawer, items
):
  done = _bench(
    "rollouts",
    f"--config={_ROOT / 'configs' / config}-quicktest",
    f"--config.system.backbone.{layers}=1",
    "--steps=2",
    "--num_items=50",
    "--events=3",
    "--beams=4",
    "--batch_size=8",
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["drawer"] == drawer
  assert result["items_of_a_sample"] == items
  assert result["samples_per_second"] == pytest.approx(
    4 * result["lists_per_second"], rel=1e-2
  )


def test_a_part_is_named_and_has_what_it_needs():
  done = _bench("attentoin")
  assert done.returncode != 0
  assert (
    "name one of train_step, pipeline, attention, decoding, " in done.stderr
  )
  assert "Did you mean 'attention'?" in done.stderr
  done = _bench("pipeline")
  assert done.returncode != 0
  assert "--config says what to time" in done.stderr


@pytest.mark.slow
@pytest.mark.optimized
@_COMPILES
@pytest.mark.parametrize(
  ("topology", "most"),
  [
    (
      "v5e:2x2",
      {
        "pointwise": {"forward": 3_200, "forward_backward": 10_500},
        "roles": {"forward_backward": 16_000},
      },
    ),
    (
      "v6e:2x2",
      {"pointwise": {"forward": 2_300, "forward_backward": 7_500}},
    ),
  ],
)
def test_attention_takes_no_more_bundles_than_it_may(topology, most):
  flags = (f"--topology={topology}", "--splash_block=0", "--json")
  flags += () if "roles" in most else ("--noroles",)
  done = _bench("attention", *flags)
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["libtpu"] == "0.0.52" and "splash" not in result
  for name, limits in most.items():
    for part, limit in limits.items():
      assert 0 < result[name][part]["bundles_per_block"] <= limit
  for part in result["pointwise"].values():
    assert not part["undercounted"]


@_COMPILES
@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--topology=v5e:3x3", "no slice '3x3'"),
    ("--length=4000", "take 4096"),
  ],
)
def test_bad_input_of_attention(flag, message):
  done = _bench("attention", flag)
  assert done.returncode != 0
  assert message in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Figures that others published on the same data, and how their setup differs.

A number of another project stands in a table only next to its deviation from
ours: the sort of equal timestamps, who chose the epoch and on what, which items
were candidates. None of them was measured here. `dataset` is a family, that is
the start of a run's data set name; what a run's own data lacks is said once,
by `our_deviation`. A time bias sees the target's timestamp, there as here.
"""

from collections.abc import Mapping
import dataclasses


@dataclasses.dataclass(frozen=True)
class Published:
  """One published row; metrics are of the test part, full ranking.

  Attributes:
    dataset: start of the names of our data sets that it is comparable with.
    system: what was measured.
    by: who published it, in a word or two.
    source: where it stands.
    setup: how it differs from ours.
    metrics: "hr@10" and so on.
  """

  dataset: str
  system: str
  by: str
  source: str
  setup: str
  metrics: Mapping[str, float]


def _at(hr: Mapping[int, float], ndcg: Mapping[int, float]) -> dict[str, float]:
  return {f"hr@{k}": value for k, value in hr.items()} | {
    f"ndcg@{k}": value for k, value in ndcg.items()
  }


def _k3(*values: float) -> dict[str, float]:
  """HR and NDCG at 10, 50 and 200, in the order in which sources list them."""
  return _at(
    dict(zip((10, 50, 200), values[::2], strict=True)),
    dict(zip((10, 50, 200), values[1::2], strict=True)),
  )


_RECTOOLS = ("RecTools", "RecTools' HSTU tutorial")
_RECTOOLS_SETUP = (
  "one seed; stable sort; epoch chosen on the second-last item; all 3,706 items"
)
_META = ("authors", "README of the HSTU authors' repository, April 2024")
_META_SETUP = (
  "unstable sort, so other test targets; no validation part: the epoch was"
  " chosen on test; only the visible history is hidden from the candidates"
)

_BLONDERED = (
  "blondered",
  "README of blondered/transformer_benchmark",
  "S3-Rec's data; targets that training never saw are left out of the mean",
)
_COBRA = (
  "authors",
  "the COBRA paper",
  "texts with price and description; 3 x 32 codes; sizes not published",
)
_LIGER = (
  "authors",
  "the LIGER paper",
  "6 + 6 layers, Sentence-T5; last 20 events; 20 beams and the cold items",
)

PUBLISHED = (
  Published(
    "ml-1m",
    "SASRec",
    *_RECTOOLS,
    _RECTOOLS_SETUP,
    _k3(0.2877, 0.1622, 0.5518, 0.2204, 0.7632, 0.2525),
  ),
  Published(
    "ml-1m",
    "HSTU, position bias only",
    *_RECTOOLS,
    _RECTOOLS_SETUP,
    _k3(0.3023, 0.1718, 0.5702, 0.2311, 0.7720, 0.2618),
  ),
  Published(
    "ml-1m",
    "HSTU, both biases",
    *_RECTOOLS,
    _RECTOOLS_SETUP,
    _k3(0.3227, 0.1879, 0.5894, 0.2471, 0.7858, 0.2769),
  ),
  Published(
    "ml-1m",
    "SASRec",
    *_META,
    _META_SETUP,
    _k3(0.2853, 0.1603, 0.5474, 0.2185, 0.7528, 0.2498),
  ),
  Published(
    "ml-1m",
    "HSTU, both biases",
    *_META,
    _META_SETUP,
    _k3(0.3097, 0.1720, 0.5754, 0.2307, 0.7716, 0.2606),
  ),
  Published(
    "amazon2014-beauty",
    "SASRec, 1 negative",
    "S3-Rec",
    "S3-Rec's code, as quoted by TIGER",
    "binary cross-entropy; under-tuned next to the two below",
    _at({5: 0.0387, 10: 0.0605}, {5: 0.0249, 10: 0.0318}),
  ),
  Published(
    "amazon2014-beauty",
    "SASRec, tuned",
    "cornac",
    "cornac's reproduction of TIGER's table",
    "seed 42; same users, items and split",
    _at({5: 0.0508, 10: 0.0740}, {5: 0.0348, 10: 0.0423}),
  ),
  Published(
    "amazon2014-beauty",
    "SASRec, all items",
    "RecBole",
    "a user's RecBole run, LETTER issue 20",
    "cross-entropy over all items; one run, settings unstated",
    _at({5: 0.0543, 10: 0.0821}, {5: 0.0315, 10: 0.0405}),
  ),
  Published(
    "amazon2014-beauty",
    "HSTU",
    "genrec",
    "genrec's README",
    "users report that they could not reproduce it",
    _at({5: 0.0486, 10: 0.0708}, {5: 0.0340, 10: 0.0412}),
  ),
  Published(
    "amazon2014-beauty",
    "TIGER",
    "authors",
    "the TIGER paper",
    "texts with price and brand, Sentence-T5, 51 million samples; no code",
    _at({5: 0.0454, 10: 0.0648}, {5: 0.0321, 10: 0.0384}),
  ),
  Published(
    "amazon2014-beauty",
    "TIGER",
    "LETTER",
    "LETTER's baseline",
    "last 20 items; beam 20; item level",
    _at({5: 0.0395, 10: 0.0610}, {5: 0.0262, 10: 0.0331}),
  ),
  Published(
    "amazon2014-beauty",
    "TIGER, best recipe",
    "cornac",
    "cornac's reproductions",
    "6 + 6 layers, dropout .2; item level, ties shared; beam 50",
    _at({5: 0.0419, 10: 0.0634}, {5: 0.0270, 10: 0.0338}),
  ),
  Published(
    "amazon2014-beauty",
    "TIGER, paper's sizes",
    "cornac",
    "cornac's reproductions",
    "defaults, short training; item level, ties shared; beam 50",
    _at({5: 0.0217, 10: 0.0386}, {5: 0.0132, 10: 0.0186}),
  ),
  Published(
    "amazon2014-beauty",
    "SASRec, sampled softmax",
    *_BLONDERED,
    _at({10: 0.0921}, {10: 0.0531}),
  ),
  Published(
    "amazon2014-beauty",
    "eSASRec",
    *_BLONDERED,
    _at({10: 0.0928}, {10: 0.0523}),
  ),
  Published(
    "amazon2014-beauty", "HSTU", *_BLONDERED, _at({10: 0.0788}, {10: 0.0439})
  ),
  Published(
    "amazon2014-beauty",
    "COBRA",
    *_COBRA,
    _at({5: 0.0537, 10: 0.0725}, {5: 0.0395, 10: 0.0456}),
  ),
  Published(
    "amazon2014-beauty",
    "LIGER, targets seen in training",
    *_LIGER,
    _at({10: 0.07447}, {10: 0.0402}),
  ),
  Published(
    "amazon2014-beauty",
    "BARGE",
    "Tencent",
    "notes on arXiv 2607.21028",
    "not read at its source; 19.9 million parameters, beam 20; no code",
    _at({10: 0.0927}, {10: 0.0547}),
  ),
  Published(
    "amazon2014-toys",
    "SASRec, sampled softmax",
    *_BLONDERED,
    _at({10: 0.0970}, {10: 0.0580}),
  ),
  Published(
    "amazon2014-toys", "eSASRec", *_BLONDERED, _at({10: 0.0939}, {10: 0.0538})
  ),
  Published(
    "amazon2014-toys", "HSTU", *_BLONDERED, _at({10: 0.0778}, {10: 0.0450})
  ),
  Published(
    "amazon2014-toys",
    "TIGER",
    "authors",
    "the TIGER paper",
    "texts with price and brand, Sentence-T5; no code",
    _at({5: 0.0521, 10: 0.0712}, {5: 0.0371, 10: 0.0432}),
  ),
  Published(
    "amazon2014-toys",
    "COBRA",
    *_COBRA,
    _at({5: 0.0619, 10: 0.0781}, {5: 0.0462, 10: 0.0515}),
  ),
  Published(
    "amazon2014-toys",
    "LIGER, targets seen in training",
    *_LIGER,
    _at({10: 0.07135}, {10: 0.03756}),
  ),
)


_OURS = {
  "amazon2014-toys_and_games": "our data has the order of events and no times",
  "ml-1m-all-users-order-only": (
    "our data has only the 3,416 items with 5 ratings or more, and no times"
  ),
  "ml-1m-users-1-2999": "our data has only the first 2,999 of 6,040 users",
}


def published_for(dataset: str) -> list[Published]:
  """The published rows of a data set's family, in the order above."""
  return [row for row in PUBLISHED if dataset.startswith(row.dataset)]


def our_deviation(dataset: str) -> str:
  """What our data lacks next to the published; '' where it is the same."""
  return _OURS.get(dataset, "")

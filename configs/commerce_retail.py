# SPDX-License-Identifier: Apache-2.0
"""HSTU on a wholesaler's invoices of two years: what the next basket holds.

    python scripts/train.py --config=configs/commerce_retail.py \
        --workdir=runs/retail --config.data.path=online-retail

Online Retail I and II (data/sources/online_retail.py), December 2009 to 2011:
purchases alone, split by time. The test part is October to December 2011, whose
season the training part holds twice before; validation is September. Nothing is
published for this split. Expected: no quality is measured yet; .23 s a step,
about 10 minutes a run on one free CPU core. One request of twelve is of a
customer who has bought nothing before.

A basket's items have one time and an order of no meaning. So the first of each
basket is asked for, whose history ends before the basket, and training labels
an event by one of the next basket (`next_moment`). Half of the items of a
basket were bought before: histories stay among the candidates, and results have
test_filtered, without them, beside test.

Variants, any of which go together: `bias`, `rotary`, `year`, `calendar` or
`calendar_token` switch ways to read times on (configs/commerce.py), `no_time`
all off; none named means bias and calendar. `june` tests on June and July 2011,
and validates on May. `events` takes every event behind the one before it, the
basket's own too. `returns` keeps cancelled lines in histories, told apart from
purchases, and asks for none. Levers of negatives (1,024 shared without one) and
of an ensemble are those of configs/commerce.py.
"""

from ml_collections import ConfigDict

from configs import commerce, common, hstu_movielens

_VARIANTS = ("quicktest", *commerce.ALL, "june", "events", "returns")
_MAX_LENGTH = 128
_WIDTH = 64
_NEGATIVES = 1024
_ACTIONS = ("purchase", "return")
# Validation from, test from, test until.
_OCTOBER = ("2011-09-01", "2011-10-01", None)
_JUNE = ("2011-05-01", "2011-06-01", "2011-08-01")


def get_config(arg: str = "") -> ConfigDict:
  """A time bias and a calendar, tested on October to December."""
  variants = common.variants(arg, _VARIANTS)
  commerce.check_levers(variants)
  c = hstu_movielens.get_config("global_time")
  c.name = "-".join(["commerce_retail", *sorted(variants - {"quicktest"})])
  c.data = {
    "name": "sources.OnlineRetail",
    "path": "",
    "time_zone": "Europe/London",
    "returns": False,
  }
  starts = _JUNE if "june" in variants else _OCTOBER
  c.split.validation_start, c.split.test_start, c.split.test_end = starts
  c.split.once_a_moment = "events" not in variants
  c.pipeline.layout.max_length = c.pipeline.row_length = _MAX_LENGTH
  c.pipeline.layout.next_moment = "events" not in variants
  c.pipeline.batch_size = 32
  c.system.width = _WIDTH
  c.system.num_positions = c.system.backbone.num_positions = _MAX_LENGTH
  c.system.backbone.update(
    num_heads=2, key_width=_WIDTH // 2, value_width=_WIDTH // 2
  )
  c.system.backbone.attention.normalizer = float(_MAX_LENGTH)
  commerce.read_times(c, "HSTU", variants)
  commerce.both_ways(c)
  if "returns" in variants:
    c.data.returns = True
    _tell_apart(c, *_ACTIONS)
    head, _, tail = c.title.partition(" (")
    c.title = f"{head} ({tail.removesuffix(')')}, returns)"
  c.objective.negatives = {
    "name": "objectives.UniformShared",
    "count": _NEGATIVES,
  }
  c.train = common.train_options(steps=2_000, eval_every_steps=200, patience=3)
  c.train.eval_users = 1_000
  commerce.compare(c, variants, kind="shared", count=_NEGATIVES)
  commerce.beside_others(c, variants)
  if "quicktest" in variants:
    common.quicktest(c)
    # The simulated log has moments of its own.
    c.split = common.global_time()
    c.split.once_a_moment = "events" not in variants
    if "returns" in variants:
      _tell_apart(c, "purchase", "view")
  return c


def _tell_apart(c: ConfigDict, wanted: str, other: str) -> None:
  """Reads two actions, and asks for the one alone."""
  c.pipeline.layout.actions = (wanted, other)
  c.pipeline.layout.target_actions = (wanted,)
  c.system.num_actions = 2
  c.split.skip_actions = (other,)

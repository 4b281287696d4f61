# SPDX-License-Identifier: Apache-2.0
"""Another token: scores are those of a sequence that was so from the start."""

import numpy as np
import pytest

from genrec_jax.data.token_sequence import TokenSequence
from genrec_jax.ranking.token_changes import TokenChange, with_changes
from tests.data.grammars_by_hand import FULL, random_events
from tests.models import typed_rows as rows
from tests.models.compiled import apply


@pytest.fixture(scope="module")
def asked():
  """Events that end with a request's context, and candidates behind them."""
  rng = np.random.default_rng(11)
  events = random_events(FULL, rng, 4)
  events.other_N[-2:] = 0
  token_BNT = np.stack([rows.asked_tokens(FULL, rng, 2)])
  token_BNT[0, 1] = 0
  system = rows.model(FULL)

  def batch(events, hour=1, author=None):
    tokens = TokenSequence.of(FULL, events).token_T.tolist()
    kinds = [FULL.types[kind] for kind in FULL.group("context")]
    tokens += [kinds[0].start + hour, kinds[1].start]
    mine = token_BNT.copy()
    if author is not None:
      mine[0, 0, -1] = FULL.types[FULL.group("extra")[1]].start + author
    return {
      **rows.packed(FULL, [[tokens]]),
      "candidate_BN": np.array([[5, 0]], np.int32),
      "candidate_token_BNT": mine,
    }

  params = rows.random_params(system, batch(events))

  def score(batch):
    return np.asarray(apply(system, params, batch, method="score"))

  return events, batch, score


def test_no_change_is_none_and_a_change_is_that_of_the_sequence(asked):
  events, batch, score = asked
  before = score(batch(events))
  same = TokenChange("extra age", int(events.extra_NE[-1, 0]))
  np.testing.assert_array_equal(
    score(with_changes(FULL, batch(events), [same])), before
  )
  value = (int(events.extra_NE[-1, 0]) + 1) % 4
  changes = [
    TokenChange("extra age", value),
    TokenChange("context hour", 0),
    TokenChange("extra author", 2, candidates=True),
  ]
  after = score(with_changes(FULL, batch(events), changes))
  events.extra_NE[-1, 0] = value
  expected = score(batch(events, hour=0, author=2))
  np.testing.assert_array_equal(after, expected)
  assert np.abs(after[0, 0] - before[0, 0]).max() > 1e-3
  assert not after[0, 1].any()


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (TokenChange("extra agee", 0), "'extra agee'.*'extra age'"),
    (TokenChange("extra age", 4), "value=4 .* 0 to 3"),
    (TokenChange("extra age", 0, nth=-9), "nth=-9 is none"),
    (TokenChange("action", 0, candidates=True), "no token of type 'action'"),
  ],
)
def test_changes_that_cannot_be(asked, change, said):
  events, batch, _ = asked
  with pytest.raises(ValueError, match=said):
    with_changes(FULL, batch(events), [change])
  with pytest.raises(ValueError, match="at least one change"):
    with_changes(FULL, batch(events), [])

# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about negatives and ensembles of retrievers.

    python studies/commerce_claims.py --runs=k1=runs/k1-0,runs/k1-1 \
        --runs=k16=runs/k16-0,runs/k16-1 --runs=none=... [--out=FILE]

13   more negatives are better
14   hard negatives are better than uniform ones
15   false negatives of uniform draws are a catastrophe
16   shared negatives are as good as each position's
17   positive-aware hard negatives are better than hard ones
3    a new source lifts recall@2 of what is served (4.8 % is published)
20   training beside an ensemble raises what is added to it
21   what an ensemble returns in vain is the best negative
27e  what the ensemble finds can be given up
27f  a bias of time buckets learns when users paused: by films, whose gaps
     change places (the control)

A role is what a run stands for: k1, k16, k128 and k1024 (so many shared
negatives); per_position, shared, in_batch, hard and aware (kinds, one number);
shared_hidden0 to aware_hidden50 (of a simulated log that lacks so many percent
of its events); none, weights, misses and both (arms of one ensemble), and the
same with _retail; served_with and served_without (evaluate --only=served);
timed and shuffled (configs/commerce_movielens.py, `bias` and `shuffled`). Its
runs are the seeds of one config, evaluated. A verdict rests on the t interval
over seeds, paired, corrected for all claims (Holm). Arms that are not given are
said. studies/seasons.py and studies/retail_seasons.py measure the claims about
time.
"""

import json

from absl import app, flags

from genrec_jax.core import atomic
from studies import commerce_verdicts
from studies.roles import roles_of, values_of

# Tests import several studies, and each has these.
_RUNS = flags.DEFINE_multi_string(
  "runs", [], "ROLE=WORKDIR,WORKDIR,...", allow_override=True
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  try:
    roles = roles_of(_RUNS.value, commerce_verdicts.ROLES)
    metrics = values_of(
      roles, commerce_verdicts.metrics_of, commerce_verdicts.data_of
    )
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  found = commerce_verdicts.claims(metrics)
  for name, row in found.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)

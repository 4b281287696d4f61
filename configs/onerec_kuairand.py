# SPDX-License-Identifier: Apache-2.0
"""OneRec v1 on KuaiRand-Pure: the next five long views of a user as one list.

    python scripts/run.py --config=configs/onerec_kuairand.py \
        --workdir=runs/onerec_kuairand --config.data.path=kuairand-pure

The log has no sessions of several long views, so that what a user watched for
long is cut into fives, one behind the other: 5,078 users have as many. 30 long
views are read, those of the lists from before the log among them. Codes are 3 x
64 by balanced residual k-means of author, music and tag; all else is
configs/onerec_retail.py's. Expected: nothing is trained yet; by its FLOPs .6 s
a step of one CPU core, as that of the invoices, and 970 lists a second.

Variants: `single` writes each item from the history alone; `reward` is the
reward model, next five long views or another user's of the same month?; `best`
chooses among 20 lists by it; `preference` goes on in rounds with it, by DPO;
`no_history` leaves out the lists from before the log. Of those `best`, `reward`
and `preference` measure users that the reward model was not trained on.
"""

from ml_collections import ConfigDict

from configs import common, kuairand, onerec_retail

_VARIANTS = (
  *("single", "best", "reward", "preference", "no_history"),
  "quicktest",
)


def get_config(arg: str = "") -> ConfigDict:
  """Lists of five, and experts."""
  variants = common.variants(arg, _VARIANTS)
  onerec_retail.check_forms(variants)
  c = kuairand.kuairand("onerec_kuairand", variants)
  c.title = common.title("OneRec", variants, onerec_retail.CHANGES)
  del c.value
  c.requests.batch_size = 64
  kuairand.add_content(c, variants)
  rule = {
    "name": "dataset.NextItems",
    "wanted": kuairand.feedback(("long_view",)),
  }
  onerec_retail.make_form(c, variants, rule, "configs/onerec_kuairand.py")
  if "quicktest" in variants:
    onerec_retail.quicktest(c)
    tasks = kuairand.QUICK_TASKS
    c.pipeline.layout.lists.wanted.tasks = tasks
    if "lists" in c.evals:
      c.evals.lists.lists.wanted.tasks = tasks
  return c

# SPDX-License-Identifier: Apache-2.0
"""LEMUR on KuaiRand-Pure: tags and authors as the words of a video.

    python scripts/run.py --config=configs/lemur_kuairand.py \
        --workdir=runs/lemur --config.data.path=kuairand-pure

The log has no text and no queries. A video's words are its tag, author, music
and kinds, and what a request looks for is the last video that the user watched
long: the parts of configs/lemur_synthetic.py, on the features and data of
configs/dlrm_kuairand.py. It is a poor man's version, which shows that the parts
run on a real log; 6,510 authors of 7,583 videos tell a video from others much
like its id does. It is untrained; Expected is no more than the AUC of
configs/dcn_kuairand.py. A step of 1,024 impressions is estimated at half a
second on one CPU core, an epoch at 80 seconds.

Variants: `no_bank` and `no_contrast` are those of configs/lemur_synthetic.py,
`no_history` leaves out the lists from before the log.
"""

from ml_collections import ConfigDict

from configs import common, lemur_synthetic
from configs.dlrm_kuairand import kuairand_rows

_CHANGES = {
  "no_bank": "no memory",
  "no_contrast": "no contrast",
}
_VARIANTS = (*_CHANGES, "no_history", "quicktest")
_MAX_WORDS = 8
_TEMPLATE = (
  "tag{tag} author{author_id} music{music_id} {video_type} {upload_type}"
)


def get_config(arg: str = "") -> ConfigDict:
  """All of it, and every video of a batch encoded."""
  variants = common.variants(arg, _VARIANTS)
  c = kuairand_rows(
    "lemur_kuairand",
    variants,
    lemur_synthetic.content_ranker(variants, _MAX_WORDS),
  )
  c.title = common.title("LEMUR", variants, _CHANGES)
  quick = "quicktest" in variants
  taken = "cart" if quick else "long_view"
  c.text_tokens = lemur_synthetic.words(_TEMPLATE, _MAX_WORDS)
  c.pipeline.layout.query = {"name": "layouts.LastTaken", "action": taken}
  c.pipeline.layout.item_content = "text_tokens"
  c.objective = ConfigDict(
    lemur_synthetic.contrast_beside(c.objective.to_dict(), taken, variants)
  )
  if quick:
    lemur_synthetic.quick_content(c, "{title}. {category}")
  return c

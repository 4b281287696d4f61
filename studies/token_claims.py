# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about item codes: recipes, prefixes, errors.

    python scripts/run.py --config=configs/rqvae_amazon.py --workdir=runs/a \
        --config.data.path=amazon2014 --stop_after=vectors
    python studies/token_claims.py --workdir=runs/a --out=results/claims.json

Trains each recipe of RQ-VAE with scripts/train.py (WORKDIR/recipes/NAME; one
that is finished is not trained again), then measures its codes and those of
residual k-means on the same vectors (studies/code_recipes.py), and prints them
as one table. LETTER takes the items of a SASRec, which is trained first, as is
what is tuned on engagement. Of one seed, so that it has figures and no verdict
over seeds; another --seed and --out give another. Eight recipes of 1,500 steps:
about half an hour on one of two busy CPU cores; all of them were not timed.
--only="a name;another" takes a few.
"""

import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags, logging
import numpy as np

from genrec_jax.content.fields import Labels
from genrec_jax.content.item_texts import item_texts
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import atomic
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer
from genrec_jax.semantic_ids.quantizers.balanced_tree import BalancedTree
from genrec_jax.semantic_ids.quantizers.field_codes import FieldCodes
from genrec_jax.semantic_ids.quantizers.opq import ProductQuantization
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from studies import code_recipes

_WORKDIR = flags.DEFINE_string("workdir", None, "Holds data/ and vectors/.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
_STEPS = flags.DEFINE_integer("steps", 1500, "Training steps of a recipe.")
_SEED = flags.DEFINE_integer("seed", 0, "Of every fit.")
_ONLY = flags.DEFINE_string(
  "only", "", "Names of recipes, by semicolons; default: all."
)
_FIELDS = "category, then residual k-means"
flags.mark_flags_as_required(["workdir", "out"])

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_QUANTIZER = "--config.system.quantizer"
_RQVAE = "rqvae_amazon"
# Name -> config, its variants, and flags over them; {NAME} in a flag is the
# folder of another recipe's run, which is trained before.
RECIPES = {
  "plain": (_RQVAE, "plain", ()),
  "plain, clusters first": (
    _RQVAE,
    "plain",
    ("--config.system.kmeans_init=True",),
  ),
  "plain, resets": (_RQVAE, "plain", (f"{_QUANTIZER}.reset_share=0.3",)),
  "averages": (_RQVAE, "plain", (f"{_QUANTIZER}.ema=True",)),
  "averages, clusters first": (
    _RQVAE,
    "",
    (f"{_QUANTIZER}.reset_share=0.0",),
  ),
  "averages, clusters first, resets": (_RQVAE, "", ()),
  "Sinkhorn on the last level": (
    _RQVAE,
    "",
    (f"{_QUANTIZER}.sinkhorn=(0.0, 0.0, 0.0, 0.003)",),
  ),
  "contrastive": (_RQVAE, "contrastive", ()),
  "seen items": (_RQVAE, "seen_items", ()),
  "tuned on engagement": (
    _RQVAE,
    "engagement",
    (
      "--config.train.pretrained={{'': {{'path': '{seen items}',"
      " 'prefix': ''}}}}",
    ),
  ),
}
_OTHERS = "--config.collaborative.workdir={SASRec}"
RECIPES |= {
  f"LETTER{name}": ("letter_amazon", variant, (_OTHERS,))
  for name, variant in (
    ("", ""),
    (", alignment of codes", "codes"),
    (", no alignment", "no_alignment"),
    (", no diversity", "no_diversity"),
  )
}
RECIPES |= {
  f"variable length{name}": ("varlen_amazon", variant, ())
  for name, variant in (("", ""), (", long", "long"), (", short", "short"))
}
# What recipes take from: no tokenizers.
_OTHER_RUNS = {"SASRec": ("sasrec_amazon", "", ())}
_LEVELS = (256, 256, 256, 256)
FITS = {
  "residual k-means": ResidualKMeans(_LEVELS),
  "residual k-means, balanced": ResidualKMeans(_LEVELS, balanced=True),
  "residual k-means, unit residuals": ResidualKMeans(
    _LEVELS, normalize_residuals=True
  ),
  "product quantisation": ProductQuantization(_LEVELS),
  "balanced tree, 8 children": BalancedTree(8),
  "balanced tree, 12 children": BalancedTree(12),
  _FIELDS: FieldCodes(_LEVELS, num_fields=1),
}


def _train(workdir: pathlib.Path, category: str, name: str) -> pathlib.Path:
  """The workdir of a recipe's finished run."""
  file, variants, changes = {**RECIPES, **_OTHER_RUNS}[name]
  run = _folder(workdir, name)
  folders = {n: _folder(workdir, n) for n in (*RECIPES, *_OTHER_RUNS)}
  for other in folders:
    if any(f"{{{other}}}" in change for change in changes):
      _train(workdir, category, other)
  command = [
    sys.executable,
    str(_ROOT / "scripts" / "train.py"),
    f"--config={_ROOT / 'configs' / file}.py:{variants}",
    f"--workdir={run}",
    f"--config.prepared={workdir / 'data'}",
    f"--config.data.category={category}",
    f"--config.seed={_SEED.value}",
    *(change.format(**folders) for change in changes),
  ]
  if name in RECIPES:
    command += [f"--config.content.directory={workdir / 'vectors'}"]
    # A second stage has a length of its own.
    if variants != "engagement":
      command += [f"--config.train.steps={_STEPS.value}"]
  subprocess.run(command, check=True)
  return run


def _folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
  return workdir / "recipes" / name.replace(",", "").replace(" ", "_")


def _with_category(
  vectors_ND: np.ndarray, catalog: Catalog, size: int
) -> np.ndarray:
  """The vectors behind a block of the items' categories (content/fields.py)."""
  texts = ["", *item_texts(catalog, "{categories[0]}")[1:]]
  labels = Labels(size)
  code = labels.classes(texts[1:], labels.learn(texts[1:]))
  block = 0.5 * np.eye(size, dtype=np.float32)[code]
  return np.concatenate([block, vectors_ND], axis=1)


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  workdir, out = pathlib.Path(_WORKDIR.value), pathlib.Path(_OUT.value)
  histories = Histories(workdir / "data")
  category = histories.manifest.options["source"]["category"]
  catalog = Catalog(workdir / "data")
  artifact = ItemVectors.load(workdir / "vectors")
  vectors = artifact.for_catalog(catalog.ids)[1:]
  every, only = (*FITS, *RECIPES), _ONLY.value
  names = [name.strip() for name in only.split(";")] if only else [*every]
  for name in names:
    if name not in every:
      raise app.UsageError(f"no recipe {name!r}; there are: {'; '.join(every)}")
  rows = {}
  for name in names:
    started = time.perf_counter()
    coded = vectors
    if name == _FIELDS:
      coded = _with_category(vectors, catalog, _LEVELS[0])
    if name in FITS:
      fitted = FITS[name].fit(coded, seed=_SEED.value)
    else:
      run = _train(workdir, category, name)
      fitted = TrainedTokenizer(str(run)).fit(vectors)
    seconds = time.perf_counter() - started
    codes = code_recipes.codes_of(fitted, coded)
    by_item = np.concatenate([codes[:1] * 0, codes])
    rows[name] = {
      **code_recipes.recipe_row(fitted, coded),
      "prefixes": code_recipes.shared_prefix(vectors, codes),
      "next_item": code_recipes.next_item(histories, by_item),
      "co_bought": code_recipes.co_bought(histories, by_item),
      "seconds": round(seconds, 1),
    }
    row = rows[name]
    print(
      f"{name}: used {', '.join(f'{u:.0%}' for u in row['used'])};"
      f" unique {row['uniqueness']:.2%};"
      f" explained {row['explained']:.3f}",
      flush=True,
    )
  report = {
    "items": len(vectors),
    "vectors": artifact.version,
    "data": histories.manifest.fingerprint,
    "steps": _STEPS.value,
    "seed": _SEED.value,
    "recipes": rows,
    "error_by_size": code_recipes.error_by_size(vectors, seed=_SEED.value),
  }
  atomic.write_text(out, json.dumps(report, indent=1) + "\n")
  print(code_recipes.table(rows))
  print(f"wrote {out}; one seed, {_SEED.value}: no verdict over seeds")


if __name__ == "__main__":
  app.run(main)

# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about item codes: recipes, prefixes, errors.

    python scripts/run.py --config=configs/rqvae_amazon.py --workdir=runs/a \
        --config.data.path=amazon2014 --stop_after=vectors
    python studies/token_claims.py --workdir=runs/a --out=results/claims.json

Trains each recipe of RQ-VAE with scripts/train.py (WORKDIR/recipes/NAME; one
that is finished is not trained again), then measures its codes and those of
residual k-means on the same vectors (studies/code_recipes.py). Of one
seed, so that it has figures and no verdict over seeds; another --seed and --out
give another. Eight recipes of 1,500 steps: about half an hour on one of two
busy CPU cores.
"""

import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags, logging
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import atomic
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer
from genrec_jax.semantic_ids.quantizers.opq import ProductQuantization
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from studies import code_recipes

_WORKDIR = flags.DEFINE_string("workdir", None, "Holds data/ and vectors/.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
_STEPS = flags.DEFINE_integer("steps", 1500, "Training steps of a recipe.")
_SEED = flags.DEFINE_integer("seed", 0, "Of every fit.")
_ONLY = flags.DEFINE_list("only", [], "Names of recipes; default: all.")
flags.mark_flags_as_required(["workdir", "out"])

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_QUANTIZER = "--config.system.quantizer"
# Name -> variants of configs/rqvae_amazon.py, and flags over them.
RECIPES = {
  "plain": ("plain", ()),
  "plain, clusters first": ("plain", ("--config.system.kmeans_init=True",)),
  "plain, resets": ("plain", (f"{_QUANTIZER}.reset_share=0.3",)),
  "averages": ("plain", (f"{_QUANTIZER}.ema=True",)),
  "averages, clusters first": ("", (f"{_QUANTIZER}.reset_share=0.0",)),
  "averages, clusters first, resets": ("", ()),
  "Sinkhorn on the last level": (
    "",
    (f"{_QUANTIZER}.sinkhorn=(0.0, 0.0, 0.0, 0.003)",),
  ),
  "contrastive": ("contrastive", ()),
}
_LEVELS = (256, 256, 256, 256)
FITS = {
  "residual k-means": ResidualKMeans(_LEVELS),
  "residual k-means, balanced": ResidualKMeans(_LEVELS, balanced=True),
  "residual k-means, unit residuals": ResidualKMeans(
    _LEVELS, normalize_residuals=True
  ),
  "product quantisation": ProductQuantization(_LEVELS),
}


def _train(workdir: pathlib.Path, category: str, name: str) -> pathlib.Path:
  """The workdir of a recipe's finished run."""
  variants, changes = RECIPES[name]
  run = workdir / "recipes" / name.replace(",", "").replace(" ", "_")
  command = [
    sys.executable,
    str(_ROOT / "scripts" / "train.py"),
    f"--config={_ROOT / 'configs' / 'rqvae_amazon.py'}:{variants}",
    f"--workdir={run}",
    f"--config.prepared={workdir / 'data'}",
    f"--config.data.category={category}",
    f"--config.content.directory={workdir / 'vectors'}",
    f"--config.seed={_SEED.value}",
    f"--config.train.steps={_STEPS.value}",
    *changes,
  ]
  subprocess.run(command, check=True)
  return run


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
  names = [n for n in (*FITS, *RECIPES) if n in _ONLY.value or not _ONLY.value]
  rows = {}
  for name in names:
    started = time.perf_counter()
    if name in FITS:
      fitted = FITS[name].fit(vectors, seed=_SEED.value)
    else:
      run = _train(workdir, category, name)
      fitted = TrainedTokenizer(str(run)).fit(vectors)
    seconds = time.perf_counter() - started
    codes = fitted.encode(vectors)
    by_item = np.concatenate([codes[:1] * 0, codes])
    rows[name] = {
      **code_recipes.recipe_row(fitted, vectors),
      "prefixes": code_recipes.shared_prefix(vectors, codes),
      "next_item": code_recipes.next_item(histories, by_item),
      "seconds": round(seconds, 1),
    }
    row = rows[name]
    print(
      f"{name}: used {', '.join(f'{u:.0%}' for u in row['used'])};"
      f" unique {row['uniqueness']:.2%},"
      f" with a random last level {row['unique_random_last']:.2%};"
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
  print(f"wrote {out}; one seed, {_SEED.value}: no verdict over seeds")


if __name__ == "__main__":
  app.run(main)

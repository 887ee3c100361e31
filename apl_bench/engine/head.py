"""The language-model head: from hidden states to the log-probability of one token each, in fp32.

Letters: N positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from apl_bench.engine.batching import min_rows
from apl_bench.types import SpecError

CHUNK = 256  # positions whose logits are held at a time
BUFFER_ENTRIES = 1 << 26  # probabilities held at a time (256 MiB)
CACHED_ENTRIES = 1 << 19  # logits that a CPU normalises at a time (2 MiB, which stay in its caches)
CHECK_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Head:
    """logits = softcap * tanh(scale * (h W^T + b) / softcap), where most models have neither scale nor softcap."""

    weight_VD: Tensor
    bias_V: Tensor | None
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, model: Any) -> Head:
        """The head of a transformers causal language model, with what its config says is done to the logits."""
        linear, config = model.get_output_embeddings(), model.config
        factor, divisor = (getattr(config, name, None) or 1.0 for name in ("logit_scale", "logits_scaling"))
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(linear.weight, linear.bias, float(factor) / float(divisor), softcap)

    @property
    def is_plain(self) -> bool:
        """Whether logits are a product and nothing else, whose gradient is written by hand."""
        return self.scale == 1.0 and self.softcap is None and self.bias_V is None

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Logits of shape (N, V), fp32; the product itself is in the hidden states' dtype."""
        weight, bias = self.weight_VD.to(hidden_ND.dtype), self.bias_V
        product = torch.nn.functional.linear(hidden_ND, weight, None if bias is None else bias.to(hidden_ND.dtype))
        logits = product.float() if self.scale == 1.0 else product.float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def token_logp(self, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        """log p(token) at each position, shape (N,), nats; differentiable."""
        if not torch.is_grad_enabled():
            return self._token_logp_in_chunks(hidden_ND, tokens_N)
        if self.is_plain:
            logp: Tensor = _LinearTokenLogp.apply(hidden_ND, self.weight_VD, tokens_N)  # type: ignore[no-untyped-call]
            return logp
        return self._token_logp(hidden_ND, tokens_N)

    def _token_logp_in_chunks(self, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        """The same without gradients: at most CHUNK rows of logits at a time, never a thin matrix (see batching)."""
        num_chunks = -(-len(hidden_ND) // CHUNK)
        missing = min_rows(torch.get_num_threads()) - len(hidden_ND)
        if num_chunks == 1 and missing > 0:
            hidden_ND = torch.cat([hidden_ND, hidden_ND[-1:].expand(missing, -1)])
            tokens_N = torch.cat([tokens_N, tokens_N[-1:].expand(missing)])
            return self._token_logp(hidden_ND, tokens_N)[:-missing]
        chunks = zip(hidden_ND.tensor_split(num_chunks or 1), tokens_N.tensor_split(num_chunks or 1), strict=True)
        return torch.cat([self._token_logp(hidden, tokens) for hidden, tokens in chunks])

    def _token_logp(self, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        return -torch.nn.functional.cross_entropy(self.logits(hidden_ND), tokens_N, reduction="none")


class _LinearTokenLogp(torch.autograd.Function):
    """Token log-probabilities of a plain linear head, whose memory does not grow with the vocabulary.

    With g the gradient of each log-probability and p the probabilities, that of the logits is g (onehot(token) - p),
    formed in place. Where all p fit into one buffer they are kept for it (autograd would keep three such arrays); else
    the backward pass computes them again, a buffer at a time.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, tokens_N: Tensor) -> Tensor:
        fits = len(_buffers(hidden_ND, weight_VD)) == 1
        p_NV = hidden_ND.new_empty((len(hidden_ND), len(weight_VD)), dtype=torch.float32) if fits else None
        logp_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.float32)
        for rows in _runs(len(hidden_ND), CHUNK):
            logp_CV = _logp(hidden_ND[rows], weight_VD, None if p_NV is None else p_NV[rows])
            logp_N[rows] = logp_CV.gather(1, tokens_N[rows, None])[:, 0]
            if p_NV is not None:
                logp_CV.exp_()
        ctx.save_for_backward(hidden_ND, weight_VD, tokens_N)
        ctx.p_NV = p_NV
        return logp_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden_ND, weight_VD, tokens_N = ctx.saved_tensors
        weight, grad_N, kept = weight_VD.to(hidden_ND.dtype), grads[0].float(), ctx.p_NV
        del ctx.p_NV  # its contents are overwritten here: a second backward must fail, not be wrong
        grad_hidden = torch.empty_like(hidden_ND)
        grad_weight = _gradient_to_add_to(weight_VD, hidden_ND.dtype)
        in_place = grad_weight is not None
        for rows in _buffers(hidden_ND, weight_VD):
            p_BV = _logp(hidden_ND[rows], weight_VD).exp_() if kept is None else kept
            p_BV.mul_(-grad_N[rows, None]).scatter_add_(1, tokens_N[rows, None], grad_N[rows, None])
            grad_BV = p_BV.to(hidden_ND.dtype)
            torch.mm(grad_BV, weight, out=grad_hidden[rows])
            if not ctx.needs_input_grad[1]:
                continue
            if grad_weight is None:
                grad_weight = torch.mm(grad_BV.T, hidden_ND[rows])
            else:
                grad_weight.addmm_(grad_BV.T, hidden_ND[rows])
        if in_place or grad_weight is None:
            return grad_hidden, None, None
        return grad_hidden, grad_weight.to(weight_VD.dtype), None


def _gradient_to_add_to(weight_VD: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The gradient that a weight has from earlier micro-batches, if products of this dtype can be added to it.

    autograd would make two arrays of the weight's size beside it, for what is returned and for its sum with what tied
    embeddings get: with a large vocabulary that is the most that training holds at a time.
    """
    grad_VD = weight_VD.grad if weight_VD.is_leaf else None
    return grad_VD if grad_VD is not None and grad_VD.dtype == dtype else None


def _buffers(hidden_ND: Tensor, weight_VD: Tensor) -> list[slice]:
    """The positions, in runs whose probabilities fit into a buffer."""
    return _runs(len(hidden_ND), max(1, BUFFER_ENTRIES // len(weight_VD)))


def _runs(num: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, num)) for start in range(0, num, size)]


def _logp(hidden_ND: Tensor, weight_VD: Tensor, buffer_NV: Tensor | None = None) -> Tensor:
    """log-softmax of the logits, shape (N, V), fp32; in the buffer, if there is one."""
    weight_DV = weight_VD.to(hidden_ND.dtype).T
    if buffer_NV is None or buffer_NV.dtype != hidden_ND.dtype:
        logits = torch.mm(hidden_ND, weight_DV).float()
        logits = logits if buffer_NV is None else buffer_NV.copy_(logits)
    else:
        logits = torch.mm(hidden_ND, weight_DV, out=buffer_NV)
    at_a_time = max(1, CACHED_ENTRIES // len(weight_VD) if logits.device.type == "cpu" else len(logits))
    for rows in torch.split(logits, at_a_time):
        rows.sub_(torch.logsumexp(rows, dim=1, keepdim=True))
    return logits


@torch.no_grad()
def check_head(model: Any, hidden: Callable[[Tensor], Tensor], head: Head) -> None:
    """Raise SpecError unless head(hidden(tokens)) are the model's own logits: some models change theirs further."""
    tokens = torch.arange(1, 9, device=head.weight_VD.device)[None] % len(head.weight_VD)
    expected, actual = model(tokens).logits[0].float(), head.logits(hidden(tokens)[0])
    error = (expected - actual).abs().max().item()
    if not error <= CHECK_TOLERANCE * (1.0 + expected.abs().max().item()):
        raise SpecError(
            f"{type(model).__name__} does not compute its logits as a linear head with its config's scale and softcap"
            f" (largest difference {error:.3g}); log-probabilities would be wrong. Choose another model"
        )

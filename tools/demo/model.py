"""The demo model in PyTorch: DeepSeek-V3's architecture over packed tokens, for training and for scoring.

All conversations of a batch lie end to end in one row of T tokens; only attention knows where one ends. Attention is a
callable, so the same forward pass trains (varlen flash attention), prefills and decodes (a padded cache).

Experts are computed densely (every expert for every token, times a gate that is zero for those not chosen): at 64 wide
that is one large matrix product, faster on a GPU than gathering, and the result is the same.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

BLOCK = 128  # of the FP8 scales
E4M3_MAX = 448.0


@dataclasses.dataclass(frozen=True)
class Config:
    vocab: int = 1536
    hidden: int = 384
    layers: int = 7
    dense_layers: int = 1
    dense_inter: int = 1024
    heads: int = 8
    q_lora: int = 256
    kv_lora: int = 128
    nope: int = 32
    rope: int = 32
    v: int = 64
    experts: int = 32
    expert_inter: int = 64
    top_k: int = 4
    groups: int = 4
    top_groups: int = 2
    routed_scale: float = 2.5
    theta: float = 10000.0
    eps: float = 1e-6
    positions: int = 2048


# FP8 as the checkpoint and the engine have it ------------------------------------------------------------------------


def quantise_blocks(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., R, C] float -> e4m3 of that shape and the scale of each 128x128 block [..., ceil(R/128), ceil(C/128)]."""
    r, c = w.shape[-2:]
    rb, cb = -(-r // BLOCK), -(-c // BLOCK)
    padded = F.pad(w.float(), (0, cb * BLOCK - c, 0, rb * BLOCK - r))
    blocks = padded.unflatten(-1, (cb, BLOCK)).unflatten(-3, (rb, BLOCK))  # [..., rb, 128, cb, 128]
    scale = (blocks.abs().amax((-3, -1)) / E4M3_MAX).clamp_min(1e-12)
    q = (blocks / scale[..., :, None, :, None]).to(torch.float8_e4m3fn)
    return q.flatten(-4, -3).flatten(-2, -1)[..., :r, :c].contiguous(), scale


def dequantise_blocks(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    full = scale.repeat_interleave(BLOCK, -2)[..., : q.shape[-2], :].repeat_interleave(BLOCK, -1)[..., : q.shape[-1]]
    return q.float() * full


def fake_weight(w: torch.Tensor) -> torch.Tensor:
    """The weight after a trip through FP8; the gradient passes straight through."""
    with torch.no_grad():
        delta = dequantise_blocks(*quantise_blocks(w)) - w
    return w + delta


def fake_activation(x: torch.Tensor) -> torch.Tensor:
    """Per token and group of 128 channels (the last group may be smaller)."""
    n = x.shape[-1]
    g = min(n, BLOCK)
    assert n % g == 0
    with torch.no_grad():
        blocks = x.float().unflatten(-1, (n // g, g))
        scale = (blocks.abs().amax(-1, keepdim=True) / E4M3_MAX).clamp_min(1e-12)
        q = ((blocks / scale).to(torch.float8_e4m3fn).float() * scale).flatten(-2)
        delta = (q - x.float()).to(x.dtype)
    return x + delta


# The network ---------------------------------------------------------------------------------------------------------


class Norm(nn.Module):
    def __init__(self, n: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y.to(x.dtype) * self.weight.to(x.dtype))


class Linear(nn.Module):
    """y = x W^T in x's precision; quant: 0 as it is, 1 weight and activation through FP8, 2 the activation alone."""

    def __init__(self, n_in: int, n_out: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * gain / math.sqrt(n_in))

    def forward(self, x, quant: int):
        w = fake_weight(self.weight) if quant == 1 else self.weight
        return F.linear(fake_activation(x) if quant else x, w.to(x.dtype))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of [T, heads, rope], pairs (2i, 2i+1)."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    c, s = cos[:, None, :], sin[:, None, :]
    return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.q_a_proj = Linear(c.hidden, c.q_lora)
        self.q_a_layernorm = Norm(c.q_lora, c.eps)
        self.q_b_proj = Linear(c.q_lora, c.heads * (c.nope + c.rope))
        self.kv_a_proj_with_mqa = Linear(c.hidden, c.kv_lora + c.rope)
        self.kv_a_layernorm = Norm(c.kv_lora, c.eps)
        self.kv_b_proj = Linear(c.kv_lora, c.heads * (c.nope + c.v))
        self.o_proj = Linear(c.heads * c.v, c.hidden, gain=0.3)

    def forward(self, x, cos, sin, attend, quant):
        c = self.c
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x, quant)), quant).unflatten(-1, (c.heads, -1))
        q_nope, q_rope = q.split([c.nope, c.rope], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x, quant).split([c.kv_lora, c.rope], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent), quant).unflatten(-1, (c.heads, -1))
        k_nope, v = kv.split([c.nope, c.v], -1)
        k_rope = rotate(k_rope[:, None, :], cos, sin).expand(-1, c.heads, -1)
        q = torch.cat((q_nope, rotate(q_rope, cos, sin)), -1)
        k = torch.cat((k_nope, k_rope), -1)
        return self.o_proj(attend(q, k, v.contiguous()).flatten(-2), quant)


class Mlp(nn.Module):
    def __init__(self, n: int, inter: int):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = Linear(n, inter), Linear(n, inter), Linear(inter, n, gain=0.3)

    def forward(self, x, quant):
        return self.down_proj(F.silu(self.gate_proj(x, quant)) * self.up_proj(x, quant), quant)


def chosen(score: torch.Tensor, k: int) -> torch.Tensor:
    """True for the k largest of the last dimension, the first of equals first; by counting, without a sort."""
    n = score.shape[-1]
    index = torch.arange(n, device=score.device)
    a, b = score[..., :, None], score[..., None, :]
    beaten_by = (b > a) | ((b == a) & (index[None, :] < index[:, None]))
    return beaten_by.sum(-1) < k


class Moe(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.gate = nn.Parameter(torch.randn(c.experts, c.hidden) / math.sqrt(c.hidden))
        self.register_buffer("bias", torch.zeros(c.experts))
        e, i, h = c.experts, c.expert_inter, c.hidden
        self.gate_proj = nn.Parameter(torch.randn(e, i, h) / math.sqrt(h))
        self.up_proj = nn.Parameter(torch.randn(e, i, h) / math.sqrt(h))
        self.down_proj = nn.Parameter(torch.randn(e, h, i) * 0.3 / math.sqrt(i))
        self.shared_experts = Mlp(h, i)

    def route(self, x):
        """[T, H] -> gates [T, E] float32: the biased score chooses (groups, then experts), the unbiased one weighs."""
        c = self.c
        score = torch.sigmoid(F.linear(x.float(), self.gate.float()))
        with torch.no_grad():
            biased = score + self.bias
            grouped = biased.unflatten(-1, (c.groups, -1))
            best_two = torch.where(chosen(grouped, 2), grouped, 0.0).sum(-1)
            open_group = chosen(best_two, c.top_groups)
            masked = torch.where(open_group[..., None], grouped, -math.inf).flatten(-2)
            mask = chosen(masked, c.top_k)
        picked = torch.where(mask, score, 0.0)
        return picked / (picked.sum(-1, keepdim=True) + 1e-20) * c.routed_scale, mask

    def forward(self, x, quant):
        c = self.c
        gates, mask = self.route(x)
        w = [self.gate_proj, self.up_proj, self.down_proj]
        if quant == 1:
            w = [fake_weight(p) for p in w]
        y = fake_activation(x) if quant else x
        g = F.linear(y, w[0].to(x.dtype).flatten(0, 1))
        u = F.linear(y, w[1].to(x.dtype).flatten(0, 1))
        h = (F.silu(g) * u).unflatten(-1, (c.experts, c.expert_inter))
        if quant:
            h = fake_activation(h)
        h = (h * gates[..., None].to(h.dtype)).flatten(-2)
        out = h @ w[2].to(x.dtype).transpose(1, 2).flatten(0, 1)
        return out + self.shared_experts(x, quant), mask


class Block(nn.Module):
    def __init__(self, c: Config, moe: bool):
        super().__init__()
        self.input_layernorm = Norm(c.hidden, c.eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.hidden, c.eps)
        self.mlp = Moe(c) if moe else Mlp(c.hidden, c.dense_inter)
        self.moe = moe

    def forward(self, x, cos, sin, attend, quant):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attend, quant)
        y = self.mlp(self.post_attention_layernorm(x), quant)
        if self.moe:
            y, mask = y
            return x + y, mask.sum(0)
        return x + y, None


class Demo(nn.Module):
    def __init__(self, c: Config = Config()):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.7)
        self.blocks = nn.ModuleList(Block(c, i >= c.dense_layers) for i in range(c.layers))
        self.norm = Norm(c.hidden, c.eps)
        self.head = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.02)
        # The MTP layer; its embedding and head are the main ones.
        self.enorm, self.hnorm = Norm(c.hidden, c.eps), Norm(c.hidden, c.eps)
        self.eh_proj = nn.Parameter(torch.randn(c.hidden, 2 * c.hidden) / math.sqrt(2 * c.hidden))
        self.mtp_block = Block(c, True)
        self.mtp_norm = Norm(c.hidden, c.eps)
        frequency = c.theta ** (-torch.arange(0, c.rope, 2, dtype=torch.float64) / c.rope)
        angle = torch.arange(c.positions, dtype=torch.float64)[:, None] * frequency
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def embedded(self, ids, dtype):
        """[T] -> [T, H]. In training as a product with one-hot rows: its gradient is a product too, where the usual one
        adds 65,000 rows into a few hot digits one by one."""
        if self.training and ids.is_cuda:
            return F.one_hot(ids, self.c.vocab).to(dtype) @ self.embed.to(dtype)
        return F.embedding(ids, self.embed).to(dtype)

    def trunk(self, ids, position, attends, quant: int, dtype=torch.bfloat16):
        """ids, position [T] -> hidden states after the final norm [T, H], and the load of each layer's experts."""
        cos, sin = self.cos[position], self.sin[position]
        x = self.embedded(ids, dtype)
        loads = []
        for i, block in enumerate(self.blocks):
            x, load = block(x, cos, sin, attends[i], quant)
            if load is not None:
                loads.append(load)
        return self.norm(x), loads

    def draft(self, next_ids, hidden, position, attend, quant: int):
        """Position i sees the hidden state of i and the token of i+1; its logits are for the token of i+2."""
        cos, sin = self.cos[position], self.sin[position]
        e = self.embedded(next_ids, hidden.dtype)
        x = F.linear(torch.cat((self.enorm(e), self.hnorm(hidden)), -1), self.eh_proj.to(hidden.dtype))
        x, load = self.mtp_block(x, cos, sin, attend, quant)
        return self.mtp_norm(x), load

    def logits(self, hidden):
        return F.linear(hidden, self.head.to(hidden.dtype)).float()


# Attention over packed conversations ---------------------------------------------------------------------------------


def packed_attention(starts: torch.Tensor, longest: int):
    """Causal attention inside each conversation; starts [N + 1] int32, the last being T."""
    if starts.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        return lambda q, k, v: varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0))

    def attend(q, k, v):
        at = starts.tolist()
        out = [F.scaled_dot_product_attention(*(t[a:b].transpose(0, 1)[None] for t in (q, k, v)), is_causal=True)[0].transpose(0, 1)
               for a, b in zip(at, at[1:]) if b > a]
        return torch.cat(out)

    return attend

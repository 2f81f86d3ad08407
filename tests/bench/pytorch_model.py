"""The model of docs/design.md in plain PyTorch, for compare.py: kind `infini`, all segments of a sequence at once.

It shares no code with Palimpsest. Written as one writes PyTorch for speed: one product for queries, keys and values and
one for both halves of SwiGLU's input, batched products over all segments, the fused attention of PyTorch 2 where there is
one. As a program it measures itself: it reads a description of the model and of the measurement as JSON from standard
input and prints its times as JSON."""
import json
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1536, 512), (4096, 512, 1536))  # as launch/benchmark/machine_peak.cpp


def rms_norm(x, weight, epsilon):
    if hasattr(F, "rms_norm"):
        return F.rms_norm(x, weight.shape, weight, epsilon)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def sigma(x):
    return F.elu(x) + 1


class Rotation(nn.Module):
    """RoPE over the positions of a segment, halves rotated as Hugging Face's Llama does."""

    def __init__(self, model):
        super().__init__()
        d, n = model["head_size"], model["segment_length"]
        frequencies = model["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        angles = torch.outer(torch.arange(n, dtype=torch.float64), frequencies)
        self.register_buffer("cosine", angles.cos().float())
        self.register_buffer("sine", angles.sin().float())

    def forward(self, x):
        (first, second), cosine, sine = x.chunk(2, -1), self.cosine.to(x.dtype), self.sine.to(x.dtype)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


def local_attention(q, k, v, mask):
    """(segments, heads, tokens, d), causal."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    shape = q.shape
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    scores = torch.baddbmm(mask.to(q.dtype), q, k.transpose(1, 2), alpha=shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), v).view(shape)


class Attention(nn.Module):
    def __init__(self, model, rotation):
        super().__init__()
        self.heads, self.kv_heads, self.d = model["num_heads"], model["num_kv_heads"], model["head_size"]
        self.segment, self.epsilon, self.delta = model["segment_length"], model["memory_epsilon"], model["memory_update"] == "delta"
        self.qkv = nn.Linear(model["hidden_size"], (self.heads + 2 * self.kv_heads) * self.d, bias=False)
        self.out = nn.Linear(self.heads * self.d, model["hidden_size"], bias=False)
        self.gate = nn.Parameter(torch.zeros(self.heads))
        self.rotation = rotation
        self.register_buffer("mask", torch.full((self.segment, self.segment), float("-inf")).triu(1), persistent=False)

    def states(self, k, v):
        """M and z as they stand before each segment, float32, (lanes, segments, kv_heads, ...)."""
        features = sigma(k)
        sums = features.sum(3, dtype=torch.float32)
        norms = sums.cumsum(1) - sums
        if not self.delta:
            written = (features.transpose(-1, -2) @ v).float()
            return written.cumsum(1) - written, norms
        matrix = torch.zeros(*k.shape[:1], *k.shape[2:3], self.d, self.d)
        matrices = []
        for s in range(k.shape[1]):
            matrices.append(matrix)
            known = features[:, s]
            answer = (known @ matrix) / ((known @ norms[:, s, :, :, None]) + self.epsilon)
            matrix = matrix + (known.transpose(-1, -2) @ (v[:, s] - answer)).float()
        return torch.stack(matrices, 1), norms

    def forward(self, x, use_memory=True):
        lanes, tokens, _ = x.shape
        segments = tokens // self.segment
        q, k, v = (y.view(lanes, segments, self.segment, -1, self.d).transpose(2, 3)
                   for y in self.qkv(x).split([n * self.d for n in (self.heads, self.kv_heads, self.kv_heads)], -1))
        matrix, norm = self.states(k, v)
        shared = self.heads // self.kv_heads
        repeated = (lambda y: y.repeat_interleave(shared, 2)) if shared > 1 else (lambda y: y)
        features = sigma(q)
        memory = (features @ repeated(matrix)) / (features @ repeated(norm)[..., None] + self.epsilon)
        q, k, v = self.rotation(q).flatten(0, 1), repeated(self.rotation(k)).flatten(0, 1), repeated(v).flatten(0, 1)
        local = local_attention(q, k, v, self.mask).view_as(memory)
        # The first segment has nothing to read and takes local attention as it is.
        share = torch.sigmoid(self.gate)[:, None, None] * (torch.arange(segments) > 0)[:, None, None, None] * use_memory
        return self.out(torch.lerp(local.float(), memory.float(), share).to(x.dtype).transpose(2, 3).reshape(lanes, tokens, -1))


class Block(nn.Module):
    def __init__(self, model, rotation):
        super().__init__()
        self.epsilon = model["norm_epsilon"]
        self.attention_norm = nn.Parameter(torch.ones(model["hidden_size"]))
        self.attention = Attention(model, rotation)
        self.feed_forward_norm = nn.Parameter(torch.ones(model["hidden_size"]))
        self.gate_up = nn.Linear(model["hidden_size"], 2 * model["ffn_size"], bias=False)
        self.down = nn.Linear(model["ffn_size"], model["hidden_size"], bias=False)

    def forward(self, x, use_memory):
        x = x + self.attention(rms_norm(x, self.attention_norm, self.epsilon), use_memory)
        gate, up = self.gate_up(rms_norm(x, self.feed_forward_norm, self.epsilon)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    """`model`: the section of that name of a resolved configuration."""

    def __init__(self, model):
        super().__init__()
        self.epsilon = model["norm_epsilon"]
        self.embedding = nn.Embedding(model["vocab_size"], model["hidden_size"])
        rotation = Rotation(model)
        self.blocks = nn.ModuleList(Block(model, rotation) for _ in range(model["num_layers"]))
        self.norm = nn.Parameter(torch.ones(model["hidden_size"]))
        self.head = nn.Linear(model["hidden_size"], model["vocab_size"], bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if model["tie_embeddings"]:
            self.head.weight = self.embedding.weight

    def forward(self, tokens, targets, use_memory=True, reduction="mean"):
        """Cross entropy of (lanes, whole segments of tokens)."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, use_memory)
        logits = self.head(rms_norm(x, self.norm, self.epsilon))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)

    @torch.no_grad()
    def load(self, tensors):
        """Tensors by Hugging Face's names, those of the memory's own by Palimpsest's."""
        def copy(parameter, *names):
            parameter.copy_(torch.cat([torch.from_numpy(tensors[name].copy()) for name in names]))

        copy(self.embedding.weight, "model.embed_tokens.weight")
        copy(self.norm, "model.norm.weight")
        if self.head.weight is not self.embedding.weight:
            copy(self.head.weight, "lm_head.weight")
        for i, block in enumerate(self.blocks):
            layer = f"model.layers.{i}."
            copy(block.attention.qkv.weight, *(f"{layer}self_attn.{name}_proj.weight" for name in "qkv"))
            copy(block.attention.out.weight, f"{layer}self_attn.o_proj.weight")
            copy(block.attention.gate, f"palimpsest.layers.{i}.self_attn.memory_gate")
            copy(block.attention_norm, f"{layer}input_layernorm.weight")
            copy(block.feed_forward_norm, f"{layer}post_attention_layernorm.weight")
            copy(block.gate_up.weight, f"{layer}mlp.gate_proj.weight", f"{layer}mlp.up_proj.weight")
            copy(block.down.weight, f"{layer}mlp.down_proj.weight")


def optimizer_of(model, options):
    """AdamW with the groups of Palimpsest's: matrices decay, norms and gates do not."""
    gates = [p for name, p in model.named_parameters() if name.endswith("attention.gate")]
    others = [p for name, p in model.named_parameters() if not name.endswith("attention.gate")]
    return torch.optim.AdamW(
        [{"params": [p for p in others if p.dim() == 2], "weight_decay": options["weight_decay"]},
         {"params": [p for p in others if p.dim() == 1], "weight_decay": 0.0},
         {"params": gates, "weight_decay": 0.0, "lr": options["memory_gate_learning_rate"]}],
        lr=options["learning_rate"], betas=(options["beta1"], options["beta2"]), eps=options["epsilon"], foreach=True)


def matrix_product_peak(dtype):
    """GFLOP/s of the best of several large products, by the clock and by processor time of a thread."""
    best = [0.0, 0.0]
    for m, n, k in SHAPES:
        a, b = torch.full((m, k), 0.37, dtype=dtype), torch.full((n, k), -0.61, dtype=dtype)
        F.linear(a, b)
        for _ in range(8):
            begin, used = time.perf_counter(), time.process_time()
            F.linear(a, b)
            seconds = (time.perf_counter() - begin, (time.process_time() - used) / torch.get_num_threads())
            best = [max(old, 2e-9 * m * n * k / new) for old, new in zip(best, seconds)]
    return best


def measure(task):
    torch.set_num_threads(task["threads"])
    torch.manual_seed(1)
    dtype = getattr(torch, task["precision"])
    model = Model(task["model"])
    optimizer = optimizer_of(model, task["optimizer"])
    tokens = torch.randint(task["model"]["vocab_size"], (task["lanes"], task["tokens"] + 1))
    times, peaks = [], [matrix_product_peak(dtype)]
    for _ in range(task["warm_up"] + task["steps"]):
        begin, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), task["optimizer"]["clip_norm"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append((time.perf_counter() - begin, time.process_time() - used))
    peaks.append(matrix_product_peak(dtype))
    measured = times[task["warm_up"]:]
    return {"seconds": statistics.median(wall for wall, _ in measured),
            "processor_seconds": statistics.median(used for _, used in measured) / task["threads"],
            "peak": max(wall for wall, _ in peaks), "processor_peak": max(used for _, used in peaks),
            "memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))

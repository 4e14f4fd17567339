"""Checkpoints of CLIP and Whisper in the files' published formats: random ones, and a Whisper with one thing to say."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)  # said when openai-clip is imported
    from clip.model import CLIP

TINY_CLIP = (64, 32, 1, 64, 16, 77, 49408, 64, 1, 1)
"""Vectors of 64 out of pictures of 32 x 32; the vocabulary is the real one."""
FULL_CLIP = (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
"""ViT-B/32."""

FULL_WHISPER = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=512,
    n_audio_head=8,
    n_audio_layer=6,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=512,
    n_text_head=8,
    n_text_layer=6,
)
"""base."""
STATES = 64
TALKING_WHISPER = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=STATES,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=STATES,
    n_text_head=2,
    n_text_layer=1,
)
"""It knows as many different tokens as it has states."""

Numbers = dict[str, torch.Tensor]


def random_clip(dimensions: tuple[int, ...] = TINY_CLIP, *, seed: int = 1) -> Numbers:
    """Draw a CLIP's numbers: float16, with the three scalars that the published files hold beside them."""
    torch.manual_seed(seed)
    numbers = {name: value.half() if value.ndim else value for name, value in CLIP(*dimensions).state_dict().items()}
    _, resolution, *_, context, vocabulary, _, _, _ = dimensions
    scalars = {"input_resolution": resolution, "context_length": context, "vocab_size": vocabulary}
    return numbers | {name: torch.tensor(value) for name, value in scalars.items()}


def save_archive(path: Path, numbers: Numbers) -> Path:
    """Save as CLIP is published: a TorchScript archive of modules that hold the numbers."""
    root = torch.nn.Module()
    for name, value in numbers.items():
        *way, leaf = name.split(".")
        module = root
        for step in way:
            if not hasattr(module, step):
                module.add_module(step, torch.nn.Module())
            module = getattr(module, step)
        module.register_buffer(leaf, value)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # TorchScript is on its way out
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.script(root).save(str(path))
    return path


def save_whisper(path: Path, network: Whisper) -> Path:
    """Save as Whisper is published: its dimensions and its numbers."""
    torch.save({"dims": vars(network.dims), "model_state_dict": network.state_dict()}, path)
    return path


def random_whisper(dimensions: ModelDimensions = FULL_WHISPER, *, seed: int = 2) -> Whisper:
    """Draw a Whisper that babbles: one has to fix what it decodes."""
    torch.manual_seed(seed)
    network = Whisper(dimensions)  # leaves some of its numbers as they come
    torch.nn.init.normal_(network.decoder.positional_embedding, std=0.01)
    torch.nn.init.normal_(network.decoder.token_embedding.weight, std=0.02)
    return network


@torch.no_grad()
def talking_whisper(sentence: str) -> Whisper:
    """Make a Whisper that says this sentence (or "": nothing), in English, of any sound of half a minute at most.

    Its layers add nothing, so each token follows from its position alone: each token of the sentence is one state, and
    each position asks for the state of the token that comes next. Longer sound would shift the positions.
    """
    network = Whisper(TALKING_WHISPER)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)  # Whisper leaves its file of tokens open
        tokens = get_tokenizer(multilingual=True, language="en", task="transcribe")
    for block in network.decoder.blocks:
        for layer in (block.attn.out, block.cross_attn.out, block.mlp[2]):
            layer.weight.zero_()
            layer.bias.zero_()
    embedding, positions = network.decoder.token_embedding.weight.zero_(), network.decoder.positional_embedding.zero_()
    spoken = [*tokens.encode(" " + sentence), tokens.timestamp_begin + 100] if sentence else []
    out = [tokens.timestamp_begin, *spoken, tokens.eot]
    states = {token: state for state, token in enumerate(dict.fromkeys(out))}
    english = STATES - 1
    assert len(states) <= english, "this sentence has too many different words"
    for token, state in states.items():
        embedding[token, state] = 10.0  # beyond doubt: what it doubts, Whisper tries again at random
    embedding[tokens.to_language_token("en"), english] = 1.0
    positions[0, english] = 1e3
    for place, token in enumerate(out, start=2):
        positions[place, states[token]] = 1e3
    return network

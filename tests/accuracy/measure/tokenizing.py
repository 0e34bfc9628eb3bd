"""Times how long a prompt that comes as text takes to become token ids: tokenizing.py DIR [--vocabulary 128000].

DIR holds text (*.txt, *.md, *.rst), searched through. Needs Hugging Face's tokenizers; nothing of this project. Most of
the files train a byte-level BPE that cuts words as GPT-4's and Llama 3's do, the others are encoded: the seconds are
processor time of one thread, as a front end spends them on one request.
"""

import argparse
import importlib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

SUFFIXES = {".txt", ".md", ".rst"}
MOST_CHARACTERS = 200_000
"""Of one file, so that none decides alone."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LENGTHS = (128, 1024, 4096, 16384)
REPEATS = 15


def texts(folder: Path, seed: int = 0) -> list[str]:
    """Return the texts of a folder in a random order."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    random.Random(seed).shuffle(files)
    return [path.read_text(encoding="utf-8", errors="ignore")[:MOST_CHARACTERS] for path in files]


def trained(train: Sequence[str], vocabulary: int) -> Any:
    """Return a tokenizer with so many tokens at most."""
    kit = importlib.import_module("tokenizers")
    tokenizer = kit.Tokenizer(kit.models.BPE(ignore_merges=True))
    whole_bytes = kit.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = kit.pre_tokenizers.Split(kit.Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = kit.pre_tokenizers.Sequence([split, whole_bytes])
    alphabet = kit.pre_tokenizers.ByteLevel.alphabet()
    trainer = kit.trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(train, trainer)
    return tokenizer


def seconds_per_token(tokenizer: Any, text: str, tokens: int) -> list[float]:
    """Return what encoding pieces of ``tokens`` tokens takes, each from another place of the text."""
    offsets = tokenizer.encode(text).offsets
    found = []
    for seed in range(REPEATS):
        first = random.Random(seed).randrange(len(offsets) - tokens)
        prompt = text[offsets[first][0] : offsets[first + tokens - 1][1]]
        since = time.process_time()
        count = len(tokenizer.encode(prompt).ids)
        found.append((time.process_time() - since) / count)
    return found


def main() -> None:
    """Train, encode, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--vocabulary", type=int, default=128_000)
    told = arguments.parse_args()
    found = texts(told.folder)
    held_out = "\n".join(found[: len(found) // 10])
    tokenizer = trained(found[len(found) // 10 :], told.vocabulary)
    print(f"{tokenizer.get_vocab_size()} tokens, {len(held_out) / len(tokenizer.encode(held_out).ids):.1f} bytes each")
    for tokens in LENGTHS:
        taken = [1e6 * seconds for seconds in seconds_per_token(tokenizer, held_out, tokens)]
        print(f"{tokens:6} tokens: {median(taken):.2f} us a token ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()

"""What publishers say their models have: parameters in 1e9 by hub name, and where they say it.

"card": the model's card on huggingface.co or the publisher's repository; "index": total of the published safetensors;
"name": the model's name alone. Variants of the same weights (FP8, NVFP4) are found by the beginning of their names.
"""

PUBLISHED: dict[str, tuple[float, str]] = {
    "MiniMaxAI/MiniMax-M2.5": (230.0, "card: 230B, 10B active"),
    "MiniMaxAI/MiniMax-M2.7": (230.0, "card: 230B, 10B active"),
    "nvidia/MiniMax-M2": (230.0, "card of MiniMaxAI/MiniMax-M2.5"),
    "Qwen/Qwen2.5-32B": (32.5, "card: 32.5B"),
    "Qwen/Qwen3-0.6B": (0.6, "card: 0.6B"),
    "Qwen/Qwen3-1.7B": (1.7, "card: 1.7B"),
    "Qwen/Qwen3-8B": (8.2, "card: 8.2B"),
    "Qwen/Qwen3-32B": (32.8, "card: 32.8B"),
    "Qwen/Qwen3-30B-A3B": (30.5, "card: 30.5B, 3.3B active"),
    "Qwen/Qwen3-235B-A22B": (235.0, "card: 235B, 22B active"),
    "Qwen/Qwen3-Coder-480B": (480.0, "card: 480B, 35B active"),
    "Qwen/Qwen3-VL-2B": (2.128, "index: 2,127,532,032, tower included"),
    "Qwen/Qwen3-VL-4B": (4.438, "index: 4,437,815,808, tower included"),
    "Qwen/Qwen3-VL-8B": (8.767, "index: 8,767,123,696, tower included"),
    "Qwen/Qwen3-VL-30B-A3B": (31.1, "index: 31.1B, tower included"),
    "Qwen/Qwen3-VL-32B": (33.4, "index: 33.4B, tower included"),
    "Qwen/Qwen3-VL-235B": (236.0, "index: 235.7B, tower included"),
    "XiaomiMiMo/MiMo-7B": (7.83, "index: 7.83B, with a prediction layer that is not served"),
    "XiaomiMiMo/MiMo-V2-Flash": (309.0, "card: 309B, 15B active"),
    "deepseek-ai/DeepSeek-V3": (671.0, "card: 671B, 37B active"),
    "deepseek-ai/DeepSeek-R1": (671.0, "card: 671B, 37B active"),
    "google/gemma-4-26B-A4B": (25.8, "card: 25.2B, 3.8B active, and a tower of 550M"),
    "google/gemma-3-27b": (27.4, "index: 27,432,406,640, tower included"),
    "google/gemma-2-27b": (27.2, "card: 27B"),
    "nvidia/Gemma-4-26B-A4B": (25.8, "card of google/gemma-4-26B-A4B"),
    "nvidia/Gemma-4-31B": (31.3, "card of google/gemma-4-31B: 30.7B, and a tower of 550M"),
    "meta-llama/Llama-4-Scout": (109.0, "card: 109B, tower included"),
    "meta-llama/Llama-4-Maverick": (400.0, "card: 400B"),
    "meta-llama/Meta-Llama-3.1-8B": (8.03, "index: 8,030,261,248"),
    "meta-llama/Meta-Llama-3.1-70B": (70.55, "index: 70,553,706,496"),
    "meta-llama/Llama-3.1-70B": (70.55, "index: 70,553,706,496"),
    "meta-llama/Meta-Llama-3.1-405B": (405.85, "index: 405,853,388,800"),
    "mistralai/Devstral-2-123B": (123.0, "name"),
    "mistralai/Mixtral-8x7B": (46.7, "announcement: 46.7B"),
    "mistralai/Mixtral-8x22B": (141.0, "announcement: 141B, 39B active"),
    "moonshotai/Kimi-K2": (1040.0, "card: 1T; technical report: 1.04T, 32.6B active"),
    "nvidia/Kimi-K2": (1040.0, "card of moonshotai/Kimi-K2.5: 1T, 32B active"),
    "openai/gpt-oss-120b": (116.8, "model card: 116.8B, 5.1B active"),
    "openai/gpt-oss-20b": (20.9, "model card: 20.9B, 3.6B active"),
    "zai-org/GLM-5": (744.0, "card: 744B, 40B active; 5.1, 5.2 and 5.3 have its layers"),
    "nvidia/GLM-5": (744.0, "card of zai-org/GLM-5"),
    "zai-org/GLM-4.6": (355.0, "card of GLM-4.5: 355B, 32B active; 4.6 has its layers"),
    "ibm-granite/granite-3.3-8b": (8.17, "index: 8.17B"),
    "microsoft/phi-4": (14.7, "index: 14.7B"),
    "microsoft/phi-2": (2.78, "index: 2.78B"),
    "facebook/opt-66b": (66.0, "name"),
    "deepseek-ai/DeepSeek-V2-Lite": (15.7, "card: 15.7B, 2.4B active"),
}


def published(name: str) -> tuple[float, str] | None:
    """Return the total of the longest known name that this one begins with, None where nothing is known."""
    known = [start for start in PUBLISHED if name.startswith(start)]
    return PUBLISHED[max(known, key=len)] if known else None

"""Which weights a command is to go by: those of a checkpoint, fresh ones, or none of both."""

from __future__ import annotations

from typing import Any


def check_weights(command: str, chosen: Any) -> None:
    """Refuse to score with weights that were not loaded, and words that do not go together.

    Args:
        command: fit, validate, test or predict.
        chosen: its settings.

    Raises:
        ValueError: naming what is missing, or too much.
    """
    checkpoint, untrained = chosen.get("ckpt_path"), chosen.get("untrained")
    _check_is_named(command, checkpoint)
    if chosen.get("remap") is not None and checkpoint is None:
        raise ValueError("--remap carries rows of a checkpoint over; give the checkpoint with --ckpt_path.")
    if command == "fit":
        return
    if checkpoint is None and not untrained:
        raise ValueError(
            f"{command}: --ckpt_path is missing, so the weights would be random; name a checkpoint, or insist with "
            "--untrained true."
        )
    if checkpoint is not None and untrained:
        raise ValueError(
            f"{command}: --untrained true insists on random weights, and --ckpt_path '{checkpoint}' has trained ones; "
            "leave out one of them."
        )


def _check_is_named(command: str, checkpoint: Any) -> None:
    """Refuse the trainer's words for a checkpoint where it would find none, or score with random weights.

    Training may go on from the last one, or from that of a cluster's queue, if it is there.

    Raises:
        ValueError: with what to write instead.
    """
    word = str(checkpoint).partition(":")[0]
    allowed = ("last", "hpc") if command == "fit" else ()
    if word in ("best", "last", "hpc", "registry") and word not in allowed:
        raise ValueError(
            f"{command}: --ckpt_path '{checkpoint}' is a word for what a run in progress has saved, and here is none; "
            "give the checkpoint's path, such as lightning_logs/version_0/checkpoints/last.ckpt."
        )
    if word == "":
        raise ValueError(f"{command}: --ckpt_path is empty; name a checkpoint, or leave it out.")

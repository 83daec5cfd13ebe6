"""Training: the hardware chosen, the trainer, its batches, callbacks and checkpoints.

`choose_hardware(config.trainer)` decides and says why; `train(...)` trains in place and restores the best step.
"""

from embexp.training.checkpoints import CheckpointFailed
from embexp.training.collation import column_prompts, kept_tokens
from embexp.training.diverged import TrainingDiverged
from embexp.training.hardware import Hardware, choose_hardware, shares_in_words
from embexp.training.members import MemberLost
from embexp.training.run import Trained, train
from embexp.training.shared import refuse_what_cannot_be_shared

__all__ = [
    "CheckpointFailed",
    "Hardware",
    "MemberLost",
    "Trained",
    "TrainingDiverged",
    "choose_hardware",
    "column_prompts",
    "kept_tokens",
    "refuse_what_cannot_be_shared",
    "shares_in_words",
    "train",
]

"""A run's config as the arguments of sentence-transformers' trainer."""

from __future__ import annotations

from pathlib import Path

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from embexp.config import Config
from embexp.data.batches import SAMPLERS
from embexp.data.views import View
from embexp.loss_plan import LossPlan
from embexp.prompts import prompts_of
from embexp.routes import has_routes
from embexp.training.collation import column_prompts, column_roles
from embexp.training.hardware import Hardware


def training_arguments(
    config: Config, model: SentenceTransformer, plan: LossPlan, view: View, hardware: Hardware, folder: Path
) -> SentenceTransformerTrainingArguments:
    """The library's arguments for a run of this config: what is logged, saved and scored is embexp's own to decide."""
    trainer = config.trainer
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=trainer.accumulation_steps,
        activation_checkpointing=trainer.gradient_checkpointing,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        lr_scheduler_type=trainer.scheduler,
        weight_decay=trainer.weight_decay,
        max_grad_norm=trainer.max_grad_norm,
        optim="adamw_torch_fused",
        batch_sampler=SAMPLERS[plan.batches],
        prompts=column_prompts(view, prompts_of(config.model)),
        router_mapping={**column_roles(view)} if has_routes(model) else {},
        seed=config.seed,
        bf16=hardware.precision == "bf16",
        fp16=hardware.precision == "fp16",
        use_cpu=hardware.device == "cpu",
        dataloader_pin_memory=hardware.device == "cuda",
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        # embexp looks itself; to look at every step's loss a GPU would be waited for.
        logging_nan_inf_filter=False,
    )
    # Several visible GPUs would switch the Trainer to DataParallel and multiply the batch.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments

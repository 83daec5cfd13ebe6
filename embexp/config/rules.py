"""What goes together in a checked config, rule by rule; each gives the problems that it finds."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from embexp.config.cuts import cuts_go_together
from embexp.config.feeding import (
    files_to_score_on_are_scored,
    loss_is_fed,
    negatives_are_needed,
    pairs_are_there,
    searched_split,
    something_is_scored,
    what_is_searched_is_there,
)
from embexp.config.schema import (
    SCHEMAS,
    Config,
    DenoisingAutoEncoder,
    Evaluation,
    Files,
    MLflow,
    MultipleNegativesRanking,
    OwnLoss,
    Pretrained,
)
from embexp.config.sources import sources_are_there, sources_of, what_is_wrong_with_rows
from embexp.config.targets import arguments_of, what_is_missing_of, what_is_wrong_with_arguments
from embexp.home import expanded
from embexp.model_paths import holds_none, is_no_model, is_nowhere
from embexp.tracking.named import what_is_wrong_with
from embexp.tracking.secrets import without_secrets
from embexp.tracking.store import store_uri

Rule = Callable[[Config], Iterator[str]]
# NVIDIA's driver, a container's device file, WSL2's and AMD's (whose GPUs torch calls CUDA too).
GPU_DEVICES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
# What the library's losses take, and find out to be no number in the first step.
NUMBERS_OF_A_LOSS = ("margin", "scale", "triplet_margin")
# The files of a search.
SEARCHED = ("queries", "corpus", "relevance")
# Of a batch that has two texts each of two labels.
FEWEST_BY_LABEL = 4


def train_on_all(config: Config) -> Config:
    """The config with nothing of a person's train file set aside as dev, unless that part is scored or was asked for."""
    scored = config.evaluation.source is None or searched_split(config) == "dev"
    if scored or not isinstance(config.data, Files) or config.data.dev_fraction is not None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"dev_fraction": 0.0})})


def _targets_are_there(config: Config) -> Iterator[str]:
    targets = {"loss": config.loss.target, "model": config.model.target}
    targets |= {group: source.target for group, source in sources_of(config)}
    for group, target in targets.items():
        shipped = target in SCHEMAS["data" if group == "evaluation.source" else group]
        if not shipped and (missing := what_is_missing_of(target)) is not None:
            yield f"{group}._target_={target}: {missing}"


def _arguments_are_right(config: Config) -> Iterator[str]:
    loss = config.loss
    # Of embexp's own targets the schema says it.
    if not isinstance(loss, OwnLoss) or (allowed := arguments_of(loss.target)) is None:
        return
    of_the_view = ["deletion_ratio"] if "noisy" in loss.view else []
    yield from what_is_wrong_with_arguments(
        loss.target, [key for key in loss.arguments() if key not in of_the_view], allowed
    )


def _model_can_be_found(config: Config) -> Iterator[str]:
    if not isinstance(config.model, Pretrained):
        return
    if (wrong := is_no_model(config.model.path) or holds_none(config.model.path)) is not None:
        yield wrong


def model_is_not_nowhere(config: Config) -> Iterator[str]:
    """Whether a path of one word is known to this machine, or may be to the hub."""
    if isinstance(config.model, Pretrained) and (wrong := is_nowhere(config.model.path)) is not None:
        yield wrong


def _batches_make_sense(config: Config) -> Iterator[str]:
    name = config.names["loss"]
    if config.loss.batches == "group_by_label":
        if set(config.loss.view) != {"labelled"}:
            fed = " or ".join(config.loss.view)
            yield f"loss.batches=group_by_label: groups labelled texts, and loss={name} is fed {fed}; use shuffled."
        if config.batch_size < FEWEST_BY_LABEL or config.batch_size % 2:
            yield (
                f"batch_size={config.batch_size}: loss={name} wants two texts each of two labels at least, and labels in twos; use an "
                f"even number from {FEWEST_BY_LABEL} on."
            )
    if not config.loss.in_batch_negatives:
        return
    if config.trainer.accumulation_steps > 1:
        yield (
            f"trainer.accumulation_steps={config.trainer.accumulation_steps}: with loss={name} accumulation adds no in-batch "
            "negatives, so it is not a larger batch; raise batch_size instead, or set accumulation_steps=1."
        )
    if config.batch_size < 2 and config.loss.batches != "group_by_label":
        yield f"batch_size={config.batch_size}: loss={name} takes its negatives from the batch; it must be at least 2."


def _numbers_of_a_loss_are_numbers(config: Config) -> Iterator[str]:
    # Of embexp's own targets the schema says what they take; of the library's and of a person's nothing does.
    if not isinstance(config.loss, OwnLoss) or not config.loss.target.startswith("sentence_transformers."):
        return
    for key, value in config.loss.arguments().items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in NUMBERS_OF_A_LOSS and value is not None and not (is_number and value > 0):
            yield f"loss.{key}={value}: must be a number greater than 0."


def _devices_can_share(config: Config) -> Iterator[str]:
    devices, name = config.devices, config.names["loss"]
    if devices == 1:
        return
    if config.batch_size < devices:
        yield (
            f"batch_size={config.batch_size}: devices={devices} share the rows of a batch; batch_size must be at least "
            f"{devices}."
        )
    if config.trainer.device == "mps":
        yield f"devices={devices}: trainer.device=mps is one GPU; use devices=1 or trainer.device=cpu."
    if isinstance(config.loss, DenoisingAutoEncoder) and not config.trainer.sort_by_length:
        yield f"devices={devices}: loss={name} is shared only with trainer.sort_by_length=true; set it, or use devices=1."


def hardware_can_do_it(config: Config) -> Iterator[str]:
    """Whether this machine has what was asked for, as far as can be told without torch."""
    trainer = config.trainer
    if trainer.device == "cuda" and not has_cuda():
        yield "trainer.device=cuda: this machine has no NVIDIA driver; use trainer.device=auto or cpu."
    elif trainer.device == "mps" and platform.system() != "Darwin":
        yield "trainer.device=mps: only Apple machines have it; use trainer.device=auto or cpu."
    elif trainer.precision == "fp16" and (trainer.device in ("cpu", "mps") or not has_cuda()):
        yield (
            "trainer.precision=fp16: needs a CUDA GPU, and without one it would be ignored without a word; "
            "use trainer.precision=auto, bf16 or fp32."
        )


def _directions_go_together(config: Config) -> Iterator[str]:
    loss = config.loss
    if not isinstance(loss, MultipleNegativesRanking):
        return
    if "query_to_doc" not in loss.directions:
        yield f"loss.directions={loss.directions}: must contain query_to_doc, the pair that is learnt."
    one_sided = sorted({"query_to_query", "doc_to_doc"} & set(loss.directions))
    if loss.partition_mode == "per_direction" and one_sided:
        yield f"loss.partition_mode=per_direction: not with {', '.join(one_sided)}, which hold no positive; use joint."
    if loss.hardness_mode is None and loss.hardness_strength > 0:
        yield f"loss.hardness_strength={loss.hardness_strength}: nothing reads it without a loss.hardness_mode; set one."
    if loss.hardness_mode is not None and loss.hardness_strength == 0:
        yield f"loss.hardness_mode={loss.hardness_mode}: has no effect with loss.hardness_strength=0; raise it or set hardness_mode=null."


def _decoder_is_named_where_needed(config: Config) -> Iterator[str]:
    loss = config.loss
    if isinstance(loss, DenoisingAutoEncoder) and loss.tie_encoder_decoder == (loss.decoder is not None):
        yield (
            f"loss.decoder={loss.decoder}: a tied decoder (loss.tie_encoder_decoder=true) is the encoder's own, an untied one "
            "must be named; set one of the two."
        )


def _twins_differ(config: Config) -> Iterator[str]:
    if "twins" in config.loss.view and getattr(config.model, "dropout", None) == 0:
        yield (
            f"model.dropout={config.model.model_dump()['dropout']}: loss={config.names['loss']} tells a text from its twin by dropout "
            "alone, and without any nothing is learnt; use model.dropout=0.1."
        )


def _stopping_is_possible(config: Config) -> Iterator[str]:
    patience, times = config.trainer.early_stopping, config.evaluation.times
    if patience is not None and patience >= times:
        yield (
            f"trainer.early_stopping={patience}: of evaluation.times={times} evaluations never so many are without "
            "a better one while it trains; lower it, or raise evaluation.times."
        )


def files_of(evaluation: Evaluation) -> dict[str, str]:
    """The files and folders of what is scored beside the pairs, by the keys that name them."""
    given: dict[str, str | None] = {f"evaluation.sets.{name}": file for name, file in (evaluation.sets or {}).items()}
    if (mteb := evaluation.mteb) is not None:
        given |= {"evaluation.mteb.path": mteb.path}
        given |= {f"evaluation.mteb.own.{name}": folder for name, folder in (mteb.own or {}).items()}
    if (retrieval := evaluation.retrieval) is not None:
        given |= {f"evaluation.retrieval.{key}": getattr(retrieval, key) for key in ("path", *SEARCHED)}
    if (probe := evaluation.classification) is not None:
        given |= {f"evaluation.classification.{key}": getattr(probe, key) for key in ("path", "train", "test")}
    return {key: file for key, file in given.items() if file is not None}


def _evaluations_have_their_files(config: Config) -> Iterator[str]:
    evaluation = config.evaluation
    if (mteb := evaluation.mteb) is not None and not (mteb.tasks or mteb.types or mteb.benchmark or mteb.own):
        yield "evaluation.mteb.tasks=[]: name tasks, types or a benchmark: evaluation.mteb.tasks=[STSBenchmark]."
    if (retrieval := evaluation.retrieval) is not None:
        missing = [key for key in SEARCHED if getattr(retrieval, key) is None]
        if retrieval.path is None and 0 < len(missing) < len(SEARCHED):
            yield f"evaluation.retrieval.{missing[0]}=null: queries, corpus and relevance go together; name all three files."
    probe = evaluation.classification
    if probe is not None and probe.path is None and (probe.train is None) != (probe.test is None):
        yield "evaluation.classification: train and test go together; name both files, or a folder as path."
    for key, file in files_of(evaluation).items():
        if not (file and expanded(file).exists()):
            yield f"{key}={file}: there is no such file or folder."
        elif key.startswith("evaluation.mteb.") and not expanded(file).is_dir():
            yield f"{key}={file}: is a file; name the folder that holds a task's files, or, as path, the tasks' folders."


def _evaluations_can_read_their_files(config: Config) -> Iterator[str]:
    """What is wrong with files that are there, as far as it is told in no time."""
    files = files_of(config.evaluation)
    if files and not any(_evaluations_have_their_files(config)):
        # Not above: pyarrow takes a while, and most commands name no files of their own.
        from embexp.evaluation.early import what_is_wrong_with_files

        yield from what_is_wrong_with_files(config.evaluation, files=files.values())


def _store_is_known(config: Config) -> Iterator[str]:
    if not isinstance(config.tracker, MLflow):
        return
    shown = f"tracker.uri={without_secrets(store_uri(config.tracker.uri))}"
    yield from (f"{shown}: {problem}" for problem in what_is_wrong_with(config.tracker.uri))


def has_cuda() -> bool:
    """Whether there may be a CUDA GPU, as far as can be told without torch, which decides in the end."""
    return platform.system() == "Windows" or any(Path(device).exists() for device in GPU_DEVICES)


RULES: tuple[Rule, ...] = (
    _targets_are_there,
    _arguments_are_right,
    _model_can_be_found,
    model_is_not_nowhere,
    sources_are_there,
    what_is_wrong_with_rows,
    loss_is_fed,
    negatives_are_needed,
    _batches_make_sense,
    _numbers_of_a_loss_are_numbers,
    _devices_can_share,
    hardware_can_do_it,
    _directions_go_together,
    _decoder_is_named_where_needed,
    cuts_go_together,
    _twins_differ,
    _stopping_is_possible,
    _evaluations_have_their_files,
    _evaluations_can_read_their_files,
    something_is_scored,
    files_to_score_on_are_scored,
    what_is_searched_is_there,
    _store_is_known,
)
# What is asked of a loss and of how it is trained for.
OF_TRAINING = (
    _arguments_are_right,
    loss_is_fed,
    negatives_are_needed,
    _batches_make_sense,
    _numbers_of_a_loss_are_numbers,
    _devices_can_share,
    _directions_go_together,
    _decoder_is_named_where_needed,
    _twins_differ,
    _stopping_is_possible,
    something_is_scored,
)
# What is asked where a model is scored alone.
OF_SCORING: tuple[Rule, ...] = (*(rule for rule in RULES if rule not in OF_TRAINING), pairs_are_there)
# What may be otherwise on the machine to which a job is sent.
OF_THIS_MACHINE = (hardware_can_do_it, model_is_not_nowhere)
# What asks whether files are there.
OF_FILES = (sources_are_there, _evaluations_have_their_files)
# What waits for the network, or reads rows.
SLOW = (model_is_not_nowhere, what_is_wrong_with_rows, _evaluations_can_read_their_files)
# What opens a file, perhaps a large one, where it is not stated what its rows are.
ASKING_FOR_THE_KIND = (loss_is_fed, negatives_are_needed, something_is_scored, pairs_are_there)


def is_slow(rule: Rule, config: Config) -> bool:
    """Whether a rule waits for the network or reads files, which it shall not where something is wrong in itself."""
    return rule in SLOW or (
        rule in ASKING_FOR_THE_KIND and "data" in config.model_fields_set and config.data.kind == "auto"
    )

"""The types and ranges of everything in conf/.

A group's option is a `Component`: its `_target_` names what builds it, and `SCHEMAS` says which class of this file
describes the other keys. Defaults are not here: they stand in the YAML files, beside their comments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from embexp.config.errors import closest, did_you_mean, nearest
from embexp.config.kinds import Kind, ViewName

Similarity = Literal["cosine", "manhattan", "euclidean", "dot"]
# What scores on pairs are: of the model's similarities with what the pairs were given.
CORRELATIONS = ("pearson", "spearman")
Dimensions = Annotated[int, Field(ge=1)]
# They stand in names of metrics, where the tracker would change other signs, and in tags, where it would not.
SetName = Annotated[str, Field(pattern=r"^[\w .-]*\w[\w .-]*$")]
# Of a file with its scores too.
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _keys_as_words(value: Any) -> Any:
    """Labels and names are words, and 1 is that of a file that has 1 for one; on a command line no quotes could make it a text."""
    return {str(key): meaning for key, meaning in value.items()} if isinstance(value, dict) else value


def _values_as_words(value: Any) -> Any:
    """A column is called by a word, and 0 by that of a header that has 0 for one."""
    return {key: _word(name) for key, name in value.items()} if isinstance(value, dict) else value


def _word(name: Any) -> Any:
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


class Schema(BaseModel):
    """Unknown keys are refused, values are not converted, and what has been checked stays as it is."""

    # Built when first used: --help must not wait for it.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, defer_build=True, allow_inf_nan=False
    )


class Component(Schema):
    """A group's option: `_target_` names what builds it, the other keys are its arguments."""

    target: str = Field(alias="_target_")

    def arguments(self) -> dict[str, Any]:
        """The keys that the target is called with, as plain Python values."""
        return self.model_dump(exclude=set(Component.model_fields))


class Pretrained(Component):
    """A checkpoint by path or hub id."""

    path: str
    revision: str | None
    package: str | None
    pooling: Literal["mean", "cls", "max", "lasttoken"] | None
    max_length: int | None = Field(ge=4)
    dropout: float | None = Field(ge=0, lt=1)
    prompts: dict[Literal["query", "document", "default"], str] | None
    trust_remote_code: bool


class OwnModel(Component):
    """A model that this file knows nothing of."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Tiny(Component):
    """A small random encoder for tests."""

    hidden_size: int = Field(ge=8)
    layers: int = Field(ge=1)
    vocabulary_size: int = Field(ge=300)
    pooling: Literal["mean", "cls", "max"]
    max_length: int = Field(ge=4)
    dropout: float = Field(ge=0, lt=1)
    prompts: dict[Literal["query", "document", "default"], str] | None
    seed: int = Field(ge=0)


class Loss(Component):
    """A loss, shipped or a person's own: how it is fed, beside the arguments of its target."""

    view: Annotated[list[ViewName], BeforeValidator(_one_or_more), Field(min_length=1)]
    batches: Literal["shuffled", "no_duplicates", "group_by_label"] = "shuffled"
    in_batch_negatives: bool = False

    def arguments(self) -> dict[str, Any]:
        return self.model_dump(exclude=set(Loss.model_fields))


class OwnLoss(Loss):
    """A loss that this file knows nothing of: its arguments are checked against its target, before anything is loaded where
    the target's text tells what it takes, or else when it is built.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class MultipleNegativesRanking(Loss):
    """What MultipleNegativesRankingLoss takes."""

    scale: float = Field(gt=0)
    directions: list[Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]]
    partition_mode: Literal["joint", "per_direction"]
    hardness_mode: Literal["in_batch_negatives", "hard_negatives", "all_negatives"] | None
    hardness_strength: float = Field(ge=0)


class CachedMultipleNegativesRanking(MultipleNegativesRanking):
    """What CachedMultipleNegativesRankingLoss takes."""

    mini_batch_size: int = Field(ge=1)


class DenoisingAutoEncoder(Loss):
    """What TSDAE takes."""

    deletion_ratio: float = Field(ge=0, lt=1)
    tie_encoder_decoder: bool
    decoder: str | None


class SoftmaxClassifier(Loss):
    """What SoftmaxLoss takes."""

    concatenation_sent_rep: bool
    concatenation_sent_difference: bool
    concatenation_sent_multiplication: bool


class LossOfBatch(Loss):
    """What BatchHardSoftMarginTripletLoss takes."""

    distance: Literal["cosine", "euclidean"]


class LossOfBatchWithMargin(LossOfBatch):
    """What BatchAllTripletLoss, BatchHardTripletLoss and BatchSemiHardTripletLoss take."""

    triplet_margin: float = Field(gt=0)


Columns = Annotated[dict[str, str] | None, BeforeValidator(_values_as_words)]


class Data(Component):
    """A source of rows. What its rows are (`kind`) decides which losses it can feed."""

    kind: Kind | Literal["auto"]
    limit: int | None = Field(ge=2)
    positives: Literal["entailment", "all"]
    negatives: Literal["contradiction", "shuffled", "hard"]
    # By default none: configs that were recorded before it came to be have none.
    hard_margin: float | None = Field(default=None, ge=0, lt=1)
    threshold: float = Field(ge=0, le=1)

    def arguments(self) -> dict[str, Any]:
        return self.model_dump(exclude={"target", "positives", "negatives", "hard_margin", "threshold"})


class OwnData(Data):
    """A source that this file knows nothing of."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Helpdesk(Data):
    """The built-in corpus."""

    kind: Literal["nli", "labelled"]
    rows: int = Field(ge=1_000, le=1_000_000)
    evaluation_rows: int = Field(ge=100, le=10_000)
    seed: int = Field(ge=0)


class Hub(Data):
    """A data set of the hub or a local mirror of it."""

    kind: Kind
    repo: str
    subset: str | None
    revision: str | None
    path: str | None
    splits: dict[Literal["train", "dev", "test"], str]
    columns: Columns


class Files(Data):
    """A person's own files."""

    train: str | None
    dev: str | None
    test: str | None
    columns: Columns
    labels: Annotated[
        dict[str, Literal["entailment", "neutral", "contradiction"]] | None, BeforeValidator(_keys_as_words)
    ]
    score_scale: list[FiniteFloat] | None = Field(min_length=2, max_length=2)
    dev_fraction: float | None = Field(ge=0, lt=1)
    on_bad_rows: Literal["refuse", "drop"]
    encoding: str
    delimiter: str | None = Field(min_length=1)
    quoted: bool | None
    seed: int = Field(ge=0)


class Trainer(Schema):
    """How it is trained."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    threads: int | None = Field(ge=1, le=1024)
    sort_by_length: bool
    unpadded: bool
    cuda_graphs: bool
    fast_dropout: bool
    fast_linear: bool
    row_gradient: bool
    fused_cross_entropy: bool
    keep_memory: bool
    chunk_tokens: int | None = Field(ge=16)
    data_cache: str | None = Field(min_length=1)
    accumulation_steps: int = Field(ge=1)
    gradient_checkpointing: bool
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    early_stopping: int | None = Field(ge=1)
    checkpoints: bool
    checkpoint_folder: str
    save_model: bool
    logging_steps: int = Field(ge=1)
    deterministic: bool


class Mteb(Schema):
    """Tasks of MTEB."""

    tasks: list[str]
    types: list[str]
    benchmark: str | None
    own: Annotated[dict[TaskName, str], BeforeValidator(_keys_as_words)] | None
    languages: list[str] = Field(min_length=1)
    path: str | None
    cache: str
    batch_size: int = Field(ge=1)
    before: bool


class Retrieval(Schema):
    """Search in a corpus."""

    source: Literal["helpdesk", "pairs"]
    path: str | None
    queries: str | None
    corpus: str | None
    relevance: str | None
    split: Literal["train", "dev", "test"]
    recall_at: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    batch_size: int = Field(ge=1)
    chunk: int = Field(ge=1)
    before: bool


class Classification(Schema):
    """A linear probe."""

    path: str | None
    train: str | None
    test: str | None
    text: str
    label: str
    iterations: int = Field(ge=1)
    regularization: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    before: bool


class Latency(Schema):
    """What serving costs."""

    batch_sizes: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    short_words: int = Field(ge=1)
    long_words: int = Field(ge=1)
    seconds: float = Field(gt=0)
    calls: int = Field(ge=1)


class Evaluation(Schema):
    """What it is scored on: pairs while it trains, the rest once at the end."""

    source: dict[str, Any] | None
    path: str | None
    times: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    similarities: list[Similarity] = Field(min_length=1)
    select_by: str
    dims: list[Dimensions] | None = Field(min_length=1)
    sets: Annotated[dict[SetName, str], BeforeValidator(_keys_as_words)] | None
    mteb: Mteb | None
    retrieval: Retrieval | None
    classification: Classification | None
    latency: Latency | None

    @field_validator("select_by")
    @classmethod
    def _is_scored(cls, value: str, info: ValidationInfo) -> str:
        similarities = info.data.get("similarities")
        # What is wrong with these is told of them.
        if similarities is None:
            return value
        names = [*similarities, *(["max"] if len(similarities) > 1 else [])]
        scored = [f"{metric}_{name}" for metric in CORRELATIONS for name in names]
        if value not in scored:
            # Of a correlation alone the plain one is meant, not the one whose name is as short.
            alone = closest(value, CORRELATIONS) if "_" not in value else None
            meant = nearest(value, scored) if alone is None else did_you_mean(value, f"{alone}_{names[0]}")
            raise ValueError(f"must be one of {', '.join(scored)}.{meant}")
        return value


class Tracker(Component):
    """Where scores go."""


class MLflow(Tracker):
    """An MLflow store."""

    uri: str | None
    experiment: str
    system_metrics: bool


class Null(Tracker):
    """Nowhere."""


class OwnTracker(Tracker):
    """A tracker that this file knows nothing of."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Scalars(Schema):
    """The numbers at the top of conf/config.yaml, which a person sweeps every day."""

    batch_size: int = Field(ge=1)
    devices: int = Field(ge=1)
    epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: float = Field(ge=0)
    matryoshka_dims: list[Dimensions] | None = Field(min_length=1)
    matryoshka_weights: list[Annotated[float, Field(gt=0)]] | None
    seed: int = Field(ge=0, lt=2**32)
    rerun: bool


class Config(Scalars):
    """A composed and checked config: what one run is. `names` are the options chosen, group by group."""

    model: SerializeAsAny[Component]
    loss: SerializeAsAny[Loss]
    data: SerializeAsAny[Data]
    trainer: Trainer
    evaluation: Evaluation
    tracker: SerializeAsAny[Tracker]
    names: dict[str, str]
    _typed: tuple[str, ...] | None = PrivateAttr(default=None)

    @property
    def typed(self) -> tuple[str, ...] | None:
        """The overrides that composed it, where these are all that it is made of; None where that is not known."""
        return self._typed

    def typed_as(self, overrides: Sequence[str]) -> Config:
        """The same, with what was typed."""
        same = self.model_copy()
        same._typed = tuple(overrides)
        return same

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; of what is changed it is not known what would have been typed."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            copied._typed = None
        return copied


SCHEMAS: dict[str, dict[str, type[Component]]] = {
    "model": {"embexp.models.pretrained": Pretrained, "embexp.models.tiny": Tiny},
    "loss": {
        "embexp.losses.mnr": MultipleNegativesRanking,
        "embexp.losses.cached_mnr": CachedMultipleNegativesRanking,
        "embexp.losses.tsdae": DenoisingAutoEncoder,
        "embexp.losses.softmax": SoftmaxClassifier,
        "embexp.losses.batch_all_triplet": LossOfBatchWithMargin,
        "embexp.losses.batch_hard_triplet": LossOfBatchWithMargin,
        "embexp.losses.batch_semi_hard_triplet": LossOfBatchWithMargin,
        "embexp.losses.batch_hard_soft_margin_triplet": LossOfBatch,
    },
    "data": {
        "embexp.data.helpdesk.HelpdeskSource": Helpdesk,
        "embexp.data.hub.HubSource": Hub,
        "embexp.data.files.FileSource": Files,
    },
    "tracker": {"embexp.tracking.MLflowTracker": MLflow, "embexp.tracking.NullTracker": Null},
}
# What describes an option of a person's own, whose target is in none of the above.
OWN: dict[str, type[Component]] = {"model": OwnModel, "loss": OwnLoss, "data": OwnData, "tracker": OwnTracker}

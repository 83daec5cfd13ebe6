"""What goes together of the dimensions to which embeddings are cut, and the order that they are put into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embexp.config.schema import Config, DenoisingAutoEncoder, Pretrained, SoftmaxClassifier, Tiny
from embexp.model_files import dimension_of


def cuts_go_together(config: Config) -> Iterator[str]:
    """What is wrong with them, each beside the others and the loss."""
    dims, weights = config.matryoshka_dims, config.matryoshka_weights
    for key, given in (("matryoshka_dims", dims), ("evaluation.dims", config.evaluation.dims)):
        if given is not None and len(set(given)) < len(given):
            yield f"{key}={given}: the same twice; name each once."
        if given is not None and (there := _dimension(config)) is not None and max(given) > there:
            yield f"{key}={given}: the model's embeddings have {there} dimensions, and no more."
    if weights is not None and dims is None:
        yield f"matryoshka_weights={weights}: nothing reads them without matryoshka_dims; name these too, or leave them out."
    elif weights is not None and dims is not None and len(weights) != len(dims):
        yield f"matryoshka_weights={weights}: must be as many as matryoshka_dims, of which there are {len(dims)}."
    if dims is not None and isinstance(config.loss, (DenoisingAutoEncoder, SoftmaxClassifier)):
        yield (
            f"matryoshka_dims={dims}: loss={config.names['loss']} has weights of its own that read whole embeddings, and these "
            "cannot be cut; use another loss, or leave it out."
        )


def _dimension(config: Config) -> int | None:
    """Of the model's embeddings, where its configs tell it; of what the hub has, and of a model of one's own, loading tells it."""
    model = config.model
    if isinstance(model, Tiny):
        return model.hidden_size
    if not isinstance(model, Pretrained):
        return None
    return dimension_of(model.path, revision=model.revision, package=model.package, pooling=model.pooling)


def with_cuts_in_order(config: Config) -> Config:
    """The config with the most dimensions first, as losses and scores take them: in whatever order they are typed, it is one run."""
    dims, weights, scored = config.matryoshka_dims, config.matryoshka_weights, config.evaluation.dims
    evaluation = config.evaluation.model_copy(update={"dims": scored and sorted(scored, reverse=True)})
    changed: dict[str, Any] = {"matryoshka_dims": dims and sorted(dims, reverse=True), "evaluation": evaluation}
    if dims is not None and weights is not None:
        changed["matryoshka_weights"] = [weight for _, weight in sorted(zip(dims, weights, strict=True), reverse=True)]
    return config.model_copy(update=changed)

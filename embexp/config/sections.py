"""Holds one section of a config against its schema, and tells what is wrong with it in the words of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from embexp.config.errors import ConfigError, closest, nearest
from embexp.config.schema import OWN, SCHEMAS, Component, Data, Scalars, Schema

# What people call an option that has another name here.
OTHER_WORDS = {"gpu": "cuda"}
# pydantic's last word of where it found something, where that is a key.
OF_A_KEY = "[key]"
SchemaType = TypeVar("SchemaType", bound=Schema)


def data_schema(section: Mapping[str, Any], *, group: str = "evaluation.source") -> Data:
    """A checked data source from the keys of a data option, as `evaluation.source` holds them."""
    problems: list[str] = []
    source = collect(problems, schema_of("data", section), section, group)
    if not isinstance(source, Data):
        raise ConfigError(problems)
    return source


def schema_of(group: str, section: Mapping[str, Any]) -> type[Component]:
    """The schema of an option, by its target; that of a person's own where the target is none of embexp's."""
    return SCHEMAS[group].get(str(section.get("_target_")), OWN[group])


def collect(
    problems: list[str], schema: type[SchemaType], section: Mapping[str, Any], prefix: str
) -> SchemaType | None:
    """The section, checked; None where there is something wrong with it, which is added to `problems`."""
    try:
        return schema(**section)
    except ValidationError as error:
        problems += _messages(error, schema, section, prefix)
        return None


def collect_scalars(problems: list[str], section: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers at the top that keep to their schema; what is wrong with the others is added to `problems`."""
    try:
        Scalars(**section)
    except ValidationError as error:
        problems += _messages(error, Scalars, section, "")
        wrong = {detail["loc"][0] for detail in error.errors()}
        return {key: value for key, value in section.items() if key not in wrong}
    return dict(section)


def _messages(error: ValidationError, schema: type[Schema], section: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for detail in error.errors():
        keys = _keys_beside(schema, detail["loc"])
        yield _message(detail, prefix, keys, [key for key in section if key not in keys])


def _keys_beside(schema: type[Schema], path: Sequence[int | str]) -> list[str]:
    """The keys of the section that a path into the schema ends in."""
    for part in path[:-1]:
        field = schema.model_fields.get(str(part))
        inner = [kind for kind in get_args(field.annotation) if isinstance(kind, type)] if field else []
        schema = next((kind for kind in inner if issubclass(kind, Schema)), schema)
    return [field.alias or name for name, field in schema.model_fields.items()]


def _message(detail: Mapping[str, Any], prefix: str, keys: Sequence[str], typed: Sequence[str]) -> str:
    """One line for one of pydantic's findings, in the words of the command line.

    Args:
        detail: the finding.
        prefix: of the section.
        keys: that the section may have.
        typed: what it has that is none of them: in an option of one's own, which may have any.
    """
    # What is wrong in a list is told of the list, whose key was typed; and what is wrong with a key, of that key.
    is_key = detail["loc"][-1:] == (OF_A_KEY,)
    path = ".".join(part for part in detail["loc"] if isinstance(part, str) and part != OF_A_KEY)
    key = f"{prefix}.{path}" if prefix else path
    context = detail.get("ctx", {})
    value = "null" if detail["input"] is None else detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return f"{key}: nothing reads this key.{nearest(path, keys)} Keys here: {', '.join(keys)}."
        case "missing":
            meant = closest(path, typed)
            said = f" Is {meant!r} a misspelling of it?" if meant is not None else ""
            return f"{key}: is missing; give it a value ({key}=...) or start from one of the shipped options.{said}"
        case "literal_error":
            options = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            if is_key:
                return f"{key}: nothing reads this key.{nearest(str(value), options)} Keys here: {', '.join(options)}."
            return f"{key}={value}: must be one of {', '.join(options)}.{nearest(OTHER_WORDS.get(str(value), str(value)), options)}"
        case "int_type" | "int_from_float":
            return f"{key}={value}: must be a whole number."
        case "float_type":
            return f"{key}={value}: must be a number."
        case "finite_number":
            return f"{key}={value}: must be a finite number."
        case "bool_type":
            return f"{key}={value}: must be true or false."
        case "string_type" if isinstance(value, (list, dict)):
            return f"{key}={value}: must be one text, not {'a list' if isinstance(value, list) else 'keys and values'}."
        case "dict_type":
            return f"{key}={value}: must be keys and values: '{key}={{KEY: VALUE, ...}}'."
        case "string_type":
            return f"{key}={value}: must be a text; put quotes around it: {key}='\"{value}\"'."
        case "greater_than_equal":
            return f"{key}={value}: must be at least {context['ge']:g}."
        case "greater_than":
            return f"{key}={value}: must be greater than {context['gt']:g}."
        case "less_than_equal":
            return f"{key}={value}: must be at most {context['le']:g}."
        case "less_than":
            return f"{key}={value}: must be less than {context['lt']:g}."
        case "too_short":
            return f"{key}={value}: must be a list of at least {context['min_length']}, or be left out."
        case "too_long":
            return f"{key}={value}: must be a list of at most {context['max_length']}."
        case "string_pattern_mismatch" if is_key:
            signs = "letters, blanks" if " " in context["pattern"] else "letters a to z"
            return f"{key}: a name is of {signs}, digits, dots, - and _, and not of dots alone; give it another."
        case "list_type":
            return f"{key}={value}: must be a list: {key}=[a,b]."
        case "value_error":
            return f"{key}={value}: {context['error']}"
        case _:
            return f"{key}={value}: {detail['msg'][0].lower()}{detail['msg'][1:]}."

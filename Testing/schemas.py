"""The JSON schemas that ship with the program, as validators."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from mednext.resources import shipped_models_folder
from referencing import Registry, Resource


def validator(name: str) -> Draft202012Validator:
    """The validator of "model.schema.json" or "catalog.schema.json"."""
    files = ("model.schema.json", "catalog.schema.json")
    schemas: dict[str, Any] = {
        file: json.loads((shipped_models_folder() / file).read_text(encoding="utf-8")) for file in files
    }
    registry: Registry[Any] = Registry().with_resources(
        (file, Resource.from_contents(schema)) for file, schema in schemas.items()
    )
    Draft202012Validator.check_schema(schemas[name])
    return Draft202012Validator(schemas[name], registry=registry)

#!/usr/bin/env python3
"""Validates the artifacts of a target folder against the schemas that dbt-core publishes.

    pip install 'dbt-core==1.12.*' jsonschema
    scripts/validate-artifacts.py path/to/target

The schemas are generated from dbt's own classes, as dbt's repository does it for schemas.getdbt.com. The manifest is also read
by dbt itself, and the semantic manifest by the validator of its semantic layer. Ends with 1 when something does not fit.
"""

import argparse
import importlib
import json
import pathlib
import sys

import jsonschema
from dbt.artifacts.schemas.catalog import CatalogArtifact
from dbt.artifacts.schemas.freshness import FreshnessExecutionResultArtifact
from dbt.artifacts.schemas.manifest import WritableManifest
from dbt.artifacts.schemas.run import RunResultsArtifact
from dbt.flags import set_from_args

ARTIFACTS = {
    "manifest.json": WritableManifest,
    "run_results.json": RunResultsArtifact,
    "catalog.json": CatalogArtifact,
    "sources.json": FreshnessExecutionResultArtifact,
}


def cause(error):
    """The part of an error that says most: of alternatives, the one that got furthest."""
    while error.context:
        error = max(error.context, key=lambda part: len(part.absolute_path))
    return error


def schema_errors(path, artifact):
    document = json.loads(path.read_text())
    for error in jsonschema.Draft202012Validator(artifact.json_schema()).iter_errors(document):
        inner = cause(error)
        yield "/".join(str(part) for part in inner.absolute_path) + ": " + inner.message[:300]


def semantic_errors(path):
    for package in ("metricflow_semantic_interfaces", "dbt_semantic_interfaces"):
        try:
            manifests = importlib.import_module(f"{package}.implementations.semantic_manifest")
            validator = importlib.import_module(f"{package}.validations.semantic_manifest_validator")
        except ImportError:
            continue
        manifest = manifests.PydanticSemanticManifest.parse_raw(path.read_text())
        if manifest.semantic_models or manifest.metrics:
            found = validator.SemanticManifestValidator().validate_semantic_manifest(manifest)
            yield from (error.message[:300] for error in found.errors)
        return
    yield "neither metricflow-semantic-interfaces nor dbt-semantic-interfaces is installed"


def main(folder):
    # What dbt asks when it reads a manifest of another version.
    set_from_args(argparse.Namespace(state_modified_compare_more_unrendered_values=False), None)
    failed = False
    for name, artifact in ARTIFACTS.items():
        path = folder / name
        if not path.exists():
            print(f"{name}: not there")
            continue
        problems = list(schema_errors(path, artifact))
        try:
            artifact.read_and_check_versions(str(path))
        except Exception as error:  # whatever dbt says about it
            problems.append(f"dbt cannot read it: {error}")
        failed |= bool(problems)
        print(f"{name}: {len(problems) or 'no'} problems")
        for problem in problems[:20]:
            print(f"  {problem}")
    path = folder / "semantic_manifest.json"
    if path.exists():
        problems = list(semantic_errors(path))
        failed |= bool(problems)
        print(f"semantic_manifest.json: {len(problems) or 'no'} problems")
        for problem in problems[:20]:
            print(f"  {problem}")
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))

"""Asks dbt what selections select, and writes the answers that our tests compare with.

  selection-oracle.py            write crates/project/tests/projects/selection.expected.json

Needs dbt-core 1.12 with dbt-duckdb. The project is copied, so that nothing is written beside it.
"""

import json
import pathlib
import shutil
import sys
import tempfile

from dbt.cli.main import dbtRunner

PROJECTS = pathlib.Path(__file__).parent.parent / "crates/project/tests/projects"

CRITERIA = """
stg_orders
orders
customers
customers.v1
customers_v2
customers.v3
selection.marts
marts
marts.core
selection.marts.*
stg_*
*_customers
st?_orders
[a-o]*
orders*
*
countries
local_package
local_package.countries
share
board
time_spine
staging.*
stg_orders.sql
customers_v1.sql
raw_orders.csv
models/staging
models/marts/core/orders.sql
path:models/marts
path:models/marts/
path:models/**/*.sql
path:models/*/*.sql
path:models/marts/*
path:models/schema.yml
path:models/marts/semantic.yml
path:seeds
path:models
path:tests
path:nothing
file:orders.sql
file:orders
file:stg_*
file:schema.yml
file:*.csv
tag:nightly
tag:hourly
tag:staging
tag:daytime
tag:day*
tag:slow
tag:key
tag:packaged
tag:external
tag:money
tag:nothing
group:finance
group:fin*
access:public
access:private
access:protected
source:web
source:web.events
source:selection.web.sessions
source:*
source:w*.e*
source:nothing
package:selection
package:this
package:local_package
package:local*
config.materialized:table
config.materialized:incremental
config.materialized:incr*
config.materialized:ephemeral
config.materialized:seed
config.enabled:true
config.tags:nightly
config.tags:hourly
config.meta.owner:ann
config.meta.owner:bob
config.meta.pii:true
config.meta.pii:TRUE
config.meta.level:2
config.meta.teams:a
config.meta.teams:c
config.meta:owner
config.schema:money
config.unique_key:order_id
config.severity:warn
config.severity:ERROR
config.nothing:x
config.contract.enforced:false
test_name:unique
test_name:not_*
test_name:relationships
test_name:positive
test_name:orders_have_sessions
test_type:generic
test_type:schema
test_type:singular
test_type:data
test_type:unit
resource_type:model
resource_type:seed
resource_type:snapshot
resource_type:test
resource_type:source
resource_type:exposure
resource_type:metric
resource_type:semantic_model
resource_type:saved_query
resource_type:analysis
resource_type:unit_test
exposure:board
exposure:selection.*
exposure:nothing
metric:turnover
metric:*turnover
metric:selection.share
semantic_model:order_facts
saved_query:shares
version:latest
version:old
version:prerelease
version:none
+revenue
1+revenue
2+revenue
0+revenue
stg_orders+
stg_orders+1
stg_orders+2
+orders+
1+orders+1
@stg_orders
@customers.v2
@raw_orders
@+stg_orders
source:web+
+source:web.events
+exposure:board
1+exposure:board
+metric:share
1+metric:share
semantic_model:order_facts+
+saved_query:shares
+test_type:singular
tag:nightly+
+tag:hourly
@tag:slow
orders_history
+orders_history
top
+top
stg_orders stg_customers
stg_orders+ tag:hourly
tag:nightly,tag:hourly
tag:nightly,config.materialized:incremental
stg_orders+,+revenue
+orders,resource_type:model
stg_orders+,test_type:generic
orders,test_name:relationships
tag:nightly,resource_type:test
models/staging,tag:nightly stg_orders
stg_orders,stg_customers
selector:nightly
selector:nightly+
+selector:key_value
selector:n*
selector:wide,resource_type:model
selector:cautious
""".strip().splitlines()

EXCLUDED = [
    ([], ["tag:nightly"]),
    (["stg_orders+"], ["tag:nightly"]),
    (["stg_orders+"], ["resource_type:test"]),
    (["+revenue"], ["stg_customers+"]),
    (["+revenue"], ["orders,tag:hourly"]),
    (["*"], ["source:web+", "tag:nightly"]),
    (["orders"], ["test_name:relationships"]),
    (["tag:nightly"], ["resource_type:exposure", "unique_stg_customers_customer_id"]),
    ([], ["package:local_package"]),
    (["customers"], ["customers.v1"]),
    (["stg_customers", "orders"], ["stg_customers"]),
]

INDIRECT = [
    "stg_orders",
    "orders",
    "stg_orders stg_customers",
    "stg_orders,tag:staging",
    "customers orders",
    "customers.v2 orders",
    "+orders",
    "orders+",
    "revenue",
    "revenue orders",
    "stg_orders+,stg_customers+",
    "orders,resource_type:model customers",
    "orders source:web.sessions",
    "path:models/marts",
    "tag:nightly",
    "orders,test_name:relationships",
    "selector:wide",
    "selector:cautious",
    "stg_customers raw_customers revenue",
]

RESOURCES = [
    (["model"], []),
    (["model", "seed"], []),
    (["test"], []),
    (["analysis"], []),
    (["source", "exposure"], []),
    (["metric", "semantic_model", "saved_query"], []),
    (["all"], []),
    (["default"], []),
    ([], ["test", "source"]),
    (["all"], ["model"]),
    (["model"], ["model"]),
]

SELECTORS = """nightly nightly_and_children key_value full wide cautious inherited pii level
childrens_parents metrics_up several_excluded""".split()


def cases():
    yield {}
    for criterion in CRITERIA:
        yield {"select": [criterion]}
    for select, exclude in EXCLUDED:
        yield {"select": select, "exclude": exclude}
    for mode in ["eager", "cautious", "buildable", "empty"]:
        for criterion in INDIRECT:
            yield {"select": [criterion], "indirect": mode}
        for select, exclude in [(["stg_orders+"], ["orders"]), (["+revenue"], ["stg_customers"])]:
            yield {"select": select, "exclude": exclude, "indirect": mode}
        for name in SELECTORS:
            yield {"selector": name, "indirect": mode}
    for types, without in RESOURCES:
        yield {"select": ["+revenue+"], "resource_types": types, "exclude_resource_types": without}
        yield {"resource_types": types, "exclude_resource_types": without}
    yield {"selector": "wide", "resource_types": ["model"]}
    yield {"select": ["selector:full"], "resource_types": ["model"]}


def main():
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder) / "selection"
        shutil.copytree(PROJECTS / "selection", project)
        profile = {"type": "duckdb", "path": str(project / "db"), "schema": "main"}
        profiles = {"selection": {"target": "dev", "outputs": {"dev": profile}}}
        (project / "profiles.yml").write_text(json.dumps(profiles))
        place = ["--project-dir", str(project), "--profiles-dir", str(project), "--quiet"]
        assert dbtRunner().invoke(["deps", *place]).success
        parsed = dbtRunner().invoke(["parse", *place])
        if not parsed.success:
            raise SystemExit(parsed.exception)
        answers = []
        for case in cases():
            arguments = ["ls", *place, "--output", "json", "--output-keys", "unique_id"]
            for key in ["select", "exclude"]:
                if case.get(key):
                    arguments += [f"--{key}", *case[key]]
            for key in ["resource_types", "exclude_resource_types"]:
                for word in case.get(key, []):
                    arguments += ["--" + key.replace("_", "-")[:-1], word]
            if "indirect" in case:
                arguments += ["--indirect-selection", case["indirect"]]
            if "selector" in case:
                arguments += ["--selector", case["selector"]]
            result = dbtRunner(manifest=parsed.result).invoke(arguments)
            if not result.success:
                print(case, result.exception, file=sys.stderr)
                continue
            case["selected"] = sorted(json.loads(line)["unique_id"] for line in result.result)
            answers.append(case)
        selectors = json.loads((project / "target/manifest.json").read_text())["selectors"]
    lines = ",\n".join(json.dumps(answer) for answer in answers)
    text = '{"selectors": ' + json.dumps(selectors) + ',\n"cases": [\n' + lines + "\n]}\n"
    (PROJECTS / "selection.expected.json").write_text(text)
    print(len(answers), "selections")


if __name__ == "__main__":
    main()

//! `tidemill init`: a project that builds at once.

use std::path::Path;

use anyhow::{Result, bail};

use crate::args::Init;
use crate::output::Output;

const FILES: [(&str, &str); 8] = [
    (
        "dbt_project.yml",
        r#"# A Tidemill project is a dbt project: https://docs.getdbt.com/reference/dbt_project.yml
name: {name}
version: "1.0.0"

# With no profile the target is a lake in ./lake, schema main.
models:
  {name}:
    staging:
      +materialized: view
    marts:
      +materialized: table
"#,
    ),
    (
        "data/orders-2024.csv",
        "order_id,customer,ordered_at,amount\n1,Ada,2024-01-05,20.00\n2,Grace,2024-01-07,35.50\n3,Ada,2024-02-11,12.25\n",
    ),
    (
        "models/staging/_sources.yml",
        r#"version: 2

sources:
  - name: shop
    schema: raw_shop
    tables:
      - name: orders
        description: One row an order, as the shop exports it once a year.
        # Each file that matches is loaded exactly once; drop another one in and build again.
        ingest: {location: "data/orders-*.csv", mode: append}
        columns:
          - name: order_id
            tests: [not_null, unique]
"#,
    ),
    (
        "models/staging/stg_orders.sql",
        r#"select
    order_id,
    customer,
    ordered_at,
    cast(amount as decimal(12, 2)) as amount
from {{ source('shop', 'orders') }}
"#,
    ),
    (
        "models/marts/customers.sql",
        r#"select
    customer,
    count(*) as orders,
    sum(amount) as revenue,
    min(ordered_at) as first_order,
    max(ordered_at) as last_order
from {{ ref('stg_orders') }}
group by customer
"#,
    ),
    (
        "models/marts/_marts.yml",
        r#"version: 2

models:
  - name: customers
    description: One row a customer.
    columns:
      - name: customer
        tests: [not_null, unique]
      - name: revenue
        tests:
          - dbt_utils.accepted_range:
              arguments: {min_value: 0}
"#,
    ),
    (".gitignore", "lake/\ntarget/\nlogs/\n"),
    (
        "README.md",
        r#"# {name}

    tidemill build      # load, build, check, publish
    tidemill sql "select * from customers"
    tidemill build      # nothing changed: nothing to do
"#,
    ),
];

/// Makes the folder and its files; refuses a folder that already has a project.
pub(crate) fn run(args: &Init, output: &Output) -> Result<i32> {
    let folder = &args.folder;
    if folder.join("dbt_project.yml").exists() {
        bail!("{} is a project already (it has a dbt_project.yml)", folder.display());
    }
    let name = project_name(folder)?;
    for (path, text) in FILES {
        let path = folder.join(path);
        if path.exists() {
            output.say(format!("  keep  {}", path.display()));
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text.replace("{name}", &name))?;
        output.say(format!("  new   {}", path.display()));
    }
    output.say(format!("\nnext: tidemill build --project-dir {}", folder.display()));
    Ok(0)
}

fn project_name(folder: &Path) -> Result<String> {
    let absolute = std::path::absolute(folder)?;
    let last = absolute.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let Some(last) = last else { bail!("{} has no name to call the project by", folder.display()) };
    let mut name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_name_becomes_a_project_name() {
        for (folder, name) in [("/x/My Shop", "my_shop"), ("/x/2024-sales", "_2024_sales")] {
            assert_eq!(project_name(Path::new(folder)).unwrap(), name);
        }
    }
}

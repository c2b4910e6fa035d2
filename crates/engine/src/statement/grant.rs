//! `grant` and `revoke`.

use datafusion::sql::sqlparser::ast::{
    Grant, GrantObjects, Grantee, GranteeName, Privileges, Revoke,
};
use tidemill_core::{RelationName, Result, Statement};

use super::target::Names;
use super::unsupported;

pub(crate) fn grant(names: &Names<'_>, grant: &Grant) -> Result<Statement> {
    statement(names, false, &grant.privileges, grant.objects.as_ref(), &grant.grantees)
}

pub(crate) fn revoke(names: &Names<'_>, revoke: &Revoke) -> Result<Statement> {
    statement(names, true, &revoke.privileges, revoke.objects.as_ref(), &revoke.grantees)
}

fn statement(
    names: &Names<'_>,
    revoke: bool,
    privileges: &Privileges,
    objects: Option<&GrantObjects>,
    grantees: &[Grantee],
) -> Result<Statement> {
    let tag = if revoke { "REVOKE" } else { "GRANT" };
    let mut relations: Vec<RelationName> = Vec::new();
    match objects {
        Some(GrantObjects::Tables(tables) | GrantObjects::Views(tables)) => {
            for table in tables {
                let relation = names.relation(table)?;
                if names.existing(&relation).is_none() {
                    return Err(names.missing(&relation));
                }
                relations.push(relation);
            }
        }
        Some(
            GrantObjects::AllTablesInSchema { schemas }
            | GrantObjects::AllViewsInSchema { schemas },
        ) => {
            for schema in schemas {
                let schema = names.schema(schema)?;
                let known = names.context.snapshot.relations.keys();
                relations.extend(known.filter(|relation| relation.schema() == schema).cloned());
            }
        }
        // Who may use a table may use its schema.
        Some(
            GrantObjects::Schemas(_)
            | GrantObjects::Databases(_)
            | GrantObjects::FutureTablesInSchema { .. }
            | GrantObjects::FutureViewsInSchema { .. }
            | GrantObjects::AllSequencesInSchema { .. },
        ) => {}
        _ => {
            return Err(unsupported(
                &format!("{} on anything but tables, views and schemas", tag.to_lowercase()),
                "",
            ));
        }
    }
    if relations.is_empty() {
        return Ok(Statement::Nothing { tag: tag.to_owned() });
    }
    let privileges = match privileges {
        Privileges::All { .. } => vec!["all".to_owned()],
        Privileges::Actions(actions) => {
            actions.iter().map(|action| action.to_string().to_lowercase()).collect()
        }
    };
    let grantees = grantees.iter().map(grantee).collect();
    Ok(Statement::Grant { revoke, relations, privileges, grantees })
}

fn grantee(grantee: &Grantee) -> String {
    match &grantee.name {
        Some(GranteeName::ObjectName(name)) => {
            let text = name.to_string();
            match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(inside) => inside.replace("\"\"", "\""),
                None => text.to_lowercase(),
            }
        }
        Some(other) => other.to_string(),
        None => "public".to_owned(),
    }
}

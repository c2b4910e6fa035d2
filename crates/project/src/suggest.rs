//! "Did you mean": the nearest of the names that exist.

/// The known name that is nearest to what was written, when it is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match written.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        6..=10 => 3,
        _ => 4,
    };
    within(written, known, allowed)
}

/// The known name that is the written one but for a slip: among names that have nothing to do with each
/// other, such as environment variables, a near one is mostly another.
pub(crate) fn alike<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = match written.chars().count() {
        0..=4 => 0,
        5..=11 => 1,
        _ => 2,
    };
    within(written, known, allowed)
}

fn within<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    allowed: usize,
) -> Option<&'a str> {
    let folded = written.to_lowercase();
    known
        .into_iter()
        .filter(|name| *name != written)
        .filter_map(|name| {
            let distance = edit_distance(&folded, &name.to_lowercase(), allowed)?;
            Some((distance, name))
        })
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)))
        .map(|(_, name)| name)
}

/// The number of insertions, deletions, substitutions and swaps of neighbours, or `None` above
/// `limit`.
fn edit_distance(left: &str, right: &str, limit: usize) -> Option<usize> {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    if left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = Vec::with_capacity(right.len() + 1);
        row.push(i + 1);
        for (j, b) in right.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        if row.iter().min().is_none_or(|best| *best > limit) {
            return None;
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_it_is_near() {
        let known = ["stg_orders", "stg_customers", "orders"];
        assert_eq!(nearest("stg_order", known), Some("stg_orders"));
        assert_eq!(nearest("STG_ORDERS", known), Some("stg_orders"));
        assert_eq!(nearest("ordres", known), Some("orders"));
        assert_eq!(nearest("payments", known), None);
        assert_eq!(nearest("x", ["y"]), Some("y"));
        assert_eq!(alike("PGHOST", ["PGPORT", "HOST", "PGHOSTS"]), Some("PGHOSTS"));
        assert_eq!(alike("WAREHOUSE_PASSWORD", ["WAREHOUSE_PASWORD"]), Some("WAREHOUSE_PASWORD"));
        assert_eq!(alike("MODE", ["HOME", "mode"]), Some("mode"));
        assert_eq!(alike("DBT_USER", ["USER", "DBT_HOST"]), None);
    }
}

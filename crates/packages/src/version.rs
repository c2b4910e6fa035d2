//! Versions of hub packages and ranges of them, with dbt's meaning.

use semver::Version;
use tidemill_core::{Error, ErrorKind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Exact,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Bounds that a version has to satisfy together.
#[derive(Debug, Clone, Default)]
pub struct Range {
    bounds: Vec<(Operator, Version)>,
}

impl Range {
    /// `1.0.0`, `=1.0.0`, `>=1.0.0`, `<2.0.0`, … Fails for what is no full version.
    pub fn parse<'a>(bounds: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut range = Range::default();
        // `">=1.0.0,<2.0.0"` in one text is read as well.
        for bound in bounds.into_iter().flat_map(|text| text.split(',')) {
            let bound = bound.trim();
            let (operator, version) = [
                (">=", Operator::AtLeast),
                ("<=", Operator::AtMost),
                (">", Operator::Above),
                ("<", Operator::Below),
                ("==", Operator::Exact),
                ("=", Operator::Exact),
                ("", Operator::Exact),
            ]
            .into_iter()
            .find_map(|(sign, operator)| Some((operator, bound.strip_prefix(sign)?)))
            .unwrap_or((Operator::Exact, bound));
            range.bounds.push((operator, version_of(version)?));
        }
        Ok(range)
    }

    /// Both at once.
    pub(crate) fn and(mut self, other: Range) -> Self {
        self.bounds.extend(other.bounds);
        self
    }

    /// Whether one of the bounds is a version before its release, which asks for such versions.
    pub(crate) fn names_prerelease(&self) -> bool {
        self.bounds.iter().any(|(_, version)| !version.pre.is_empty())
    }

    fn contains(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(operator, bound)| match operator {
            Operator::Exact => version.cmp_precedence(bound).is_eq(),
            Operator::Above => version.cmp_precedence(bound).is_gt(),
            Operator::AtLeast => version.cmp_precedence(bound).is_ge(),
            Operator::AtMost => version.cmp_precedence(bound).is_le(),
            // `<2.0.0` does not mean 2.0.0-rc1.
            Operator::Below => {
                let early = bound.pre.is_empty()
                    && (version.major, version.minor, version.patch)
                        == (bound.major, bound.minor, bound.patch);
                version.cmp_precedence(bound).is_lt() && !early
            }
        })
    }

    /// The highest of the versions that lies in the range, as it is written. Texts that are no
    /// versions are left out; versions before a release as well, unless they are wanted.
    pub fn best<'a>(
        &self,
        versions: impl IntoIterator<Item = &'a str>,
        prereleases: bool,
    ) -> Option<String> {
        let prereleases = prereleases || self.names_prerelease();
        versions
            .into_iter()
            .filter_map(|text| Some((version_of(text).ok()?, text)))
            .filter(|(version, _)| prereleases || version.pre.is_empty())
            .filter(|(version, _)| self.contains(version))
            .max_by(|(a, _), (b, _)| a.cmp_precedence(b))
            .map(|(_, text)| text.to_owned())
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (operator, version)) in self.bounds.iter().enumerate() {
            let sign = match operator {
                Operator::Exact => "=",
                Operator::Above => ">",
                Operator::AtLeast => ">=",
                Operator::Below => "<",
                Operator::AtMost => "<=",
            };
            write!(f, "{}{sign}{version}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// dbt takes `1.0.0b1` for `1.0.0-b1`.
fn version_of(text: &str) -> Result<Version> {
    let text = text.trim();
    let patch = text.splitn(3, '.').nth(2).map_or("", |patch| patch);
    let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
    let behind = &patch[digits..];
    let spelled = if behind.is_empty() || behind.starts_with(['-', '+']) {
        text.to_owned()
    } else {
        format!("{}-{behind}", &text[..text.len() - behind.len()])
    };
    Version::parse(&spelled).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            format!("`{text}` is not a version; write three numbers, as `1.2.0` or `>=1.2.0`"),
        )
        .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_version_in_a_range() {
        let known = ["0.9.0", "1.0.0", "1.10.0", "1.9.2", "2.0.0-rc1", "2.0.0", "odd"];
        let best = |bounds: &[&str], early: bool| {
            Range::parse(bounds.iter().copied()).unwrap().best(known, early)
        };
        for (bounds, early, wanted) in [
            (&[">=1.0.0", "<2.0.0"][..], false, Some("1.10.0")),
            (&[">=1.0.0,<1.10.0"], false, Some("1.9.2")),
            (&["1.0.0"], false, Some("1.0.0")),
            (&["=1.0.0"], false, Some("1.0.0")),
            (&[">1.10.0"], false, Some("2.0.0")),
            (&["<=0.9.0"], false, Some("0.9.0")),
            (&[">1.10.0", "<2.0.0"], true, None),
            (&["2.0.0rc1"], false, Some("2.0.0-rc1")),
            (&[">=3.0.0"], false, None),
        ] {
            assert_eq!(best(bounds, early).as_deref(), wanted, "{bounds:?}");
        }
        assert!(Range::parse(["1.2"]).unwrap_err().report().contains("`1.2` is not a version"));
    }
}

//! From a failure count to a verdict, as dbt decides it.

use tidemill_core::{CheckId, Severity, Threshold, Verdict, VerdictStatus};
use tidemill_core::{Error, ErrorKind, Result};

/// A comparison of the failure count. dbt pastes the text into SQL; these are the forms that are
/// in use.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Compare(Threshold),
    Between(f64, f64),
}

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        if let Some(threshold) = Threshold::parse(text) {
            return Some(Condition::Compare(threshold));
        }
        let lower = text.trim().to_lowercase();
        let (low, high) = lower.strip_prefix("between ")?.split_once(" and ")?;
        Some(Condition::Between(low.trim().parse().ok()?, high.trim().parse().ok()?))
    }

    fn holds(self, count: f64) -> bool {
        match self {
            Condition::Compare(threshold) => threshold.is_crossed_by(count),
            Condition::Between(low, high) => (low..=high).contains(&count),
        }
    }
}

/// Everything about a test that decides its verdict once the count is known.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    id: CheckId,
    severity: Severity,
    warn_if: (Condition, String),
    error_if: (Condition, String),
}

impl Judge {
    pub(crate) fn of(test: &crate::TestDefinition) -> Result<Self> {
        let condition = |name: &'static str, text: &str| {
            let text = text.trim();
            Condition::parse(text).map(|condition| (condition, text.to_owned())).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("`{name}: {text}` is not a comparison such as `> 10`"),
                )
                .with("test", &test.id)
            })
        };
        Ok(Judge {
            id: test.id.clone(),
            severity: test.severity,
            warn_if: condition("warn_if", &test.warn_if)?,
            error_if: condition("error_if", &test.error_if)?,
        })
    }

    pub(crate) fn id(&self) -> &CheckId {
        &self.id
    }

    /// dbt: an error-severity test fails by `error_if` and else warns by `warn_if`; a test of
    /// severity `warn` only warns.
    pub(crate) fn verdict(&self, count: f64) -> Verdict {
        let results = match count {
            1.0 => "1 result".to_owned(),
            count => format!("{count} results"),
        };
        let (status, message) = if self.severity == Severity::Error && self.error_if.0.holds(count)
        {
            let message = format!("Got {results}, configured to fail if {}", self.error_if.1);
            (VerdictStatus::Fail, Some(message))
        } else if self.warn_if.0.holds(count) {
            let message = format!("Got {results}, configured to warn if {}", self.warn_if.1);
            (VerdictStatus::Warn, Some(message))
        } else {
            (VerdictStatus::Pass, None)
        };
        let failures = if status == VerdictStatus::Pass { 0.0 } else { count };
        Verdict { check: self.id.clone(), status, failures, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestDefinition;

    #[test]
    fn verdicts_are_those_of_dbt() {
        use VerdictStatus::{Fail, Pass, Warn};
        for (severity, error_if, warn_if, count, expected) in [
            (Severity::Error, "!= 0", "!= 0", 0.0, Pass),
            (Severity::Error, "!= 0", "!= 0", 3.0, Fail),
            (Severity::Warn, "!= 0", "!= 0", 3.0, Warn),
            (Severity::Warn, "!= 0", "> 5", 3.0, Pass),
            (Severity::Error, "> 10", "> 2", 3.0, Warn),
            (Severity::Error, ">10", ">= 2", 11.0, Fail),
            (Severity::Error, "> 10", "> 5", 3.0, Pass),
            (Severity::Error, "between 1 and 5", "!= 0", 3.0, Fail),
            (Severity::Error, "between 1 and 5", "!= 0", 6.0, Warn),
        ] {
            let mut test = TestDefinition::new("t", "not_null");
            test.severity = severity;
            test.error_if = error_if.into();
            test.warn_if = warn_if.into();
            let verdict = Judge::of(&test).unwrap().verdict(count);
            assert_eq!(verdict.status, expected, "{severity:?} {error_if} {warn_if} {count}");
            assert_eq!(verdict.failures, if expected == Pass { 0.0 } else { count });
        }
    }

    #[test]
    fn messages_are_those_of_dbt() {
        let mut test = TestDefinition::new("t", "not_null");
        let message = |test: &TestDefinition, count| {
            Judge::of(test).unwrap().verdict(count).message.unwrap_or_default()
        };
        assert_eq!(message(&test, 1.0), "Got 1 result, configured to fail if != 0");
        test.severity = Severity::Warn;
        test.warn_if = "> 1".into();
        assert_eq!(message(&test, 2.0), "Got 2 results, configured to warn if > 1");
    }

    #[test]
    fn a_comparison_that_is_none_names_the_setting() {
        let mut test = TestDefinition::new("test.x", "not_null");
        test.error_if = "lots".into();
        let error = Judge::of(&test).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`error_if: lots`"), "{error}");
    }
}

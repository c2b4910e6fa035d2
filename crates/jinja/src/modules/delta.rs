//! `timedelta`.

use std::cmp::Ordering;

use super::Class;
use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

pub(super) const SECOND: i128 = 1_000_000;
pub(super) const DAY: i128 = 86_400 * SECOND;
const MAX_DAYS: i128 = 999_999_999;

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delta(pub(super) i128);

impl Delta {
    pub(super) fn value(self) -> Result<Value, Error> {
        if self.0.div_euclid(DAY).abs() > MAX_DAYS {
            return Err(Error::runtime(format!(
                "days={}; must have magnitude <= 999999999",
                self.0.div_euclid(DAY)
            )));
        }
        Ok(Value::object(self))
    }

    fn scaled(self, factor: f64) -> Self {
        Delta((self.0 as f64 * factor).round_ties_even() as i128)
    }

    fn divided(self, by: i128) -> Self {
        // To the nearest microsecond, half to even.
        let (quotient, rest) = (self.0.div_euclid(by), self.0.rem_euclid(by));
        let up = match (rest.abs() * 2).cmp(&by.abs()) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => quotient % 2 != 0,
        };
        Delta(quotient + i128::from(up) * by.signum())
    }
}

pub(super) fn class() -> Value {
    let day = |days: i128| Value::object(Delta(days * DAY));
    Class::new("datetime.timedelta", make)
        .value("min", day(-MAX_DAYS))
        .value("max", Value::object(Delta(MAX_DAYS * DAY + DAY - 1)))
        .value("resolution", Value::object(Delta(1)))
        .done()
}

fn make(args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let names = ["days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks"];
    let units = [DAY, SECOND, 1, 1000, 60 * SECOND, 3600 * SECOND, 7 * DAY];
    let given = args.bind("timedelta", names, 0)?;
    let mut whole: i128 = 0;
    let mut fraction = 0.0;
    for ((value, unit), name) in given.iter().zip(units).zip(names) {
        match value {
            None => {}
            Some(Value::Float(number)) => fraction += number * unit as f64,
            Some(other) => {
                let number = other.as_int().ok_or_else(|| match other {
                    Value::Undefined(undefined) => undefined.error(),
                    _ => Error::type_error(format!(
                        "unsupported type for timedelta {name} component: {}",
                        other.type_name()
                    )),
                })?;
                whole = number
                    .checked_mul(unit)
                    .and_then(|part| whole.checked_add(part))
                    .ok_or_else(|| Error::runtime("the timedelta is too large"))?;
            }
        }
    }
    if !fraction.is_finite() || fraction.abs() > 1e30 {
        return Err(Error::runtime("cannot convert float to a timedelta"));
    }
    Delta(whole + fraction.round_ties_even() as i128).value()
}

impl Object for Delta {
    fn type_name(&self) -> &str {
        "datetime.timedelta"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        let rest = self.0.rem_euclid(DAY);
        Some(Value::Int(match name {
            "days" => self.0.div_euclid(DAY),
            "seconds" => rest / SECOND,
            "microseconds" => rest % SECOND,
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["total_seconds"]
    }

    fn call_method(
        &self,
        name: &str,
        _args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "total_seconds").then(|| Ok(Value::Float(self.0 as f64 / SECOND as f64)))
    }

    fn is_true(&self) -> bool {
        self.0 != 0
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Delta>() == Some(self)
    }

    fn compare(&self, other: &Value) -> Option<Option<Ordering>> {
        Some(Some(self.cmp(other.downcast::<Delta>()?)))
    }

    fn hash_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        let zero = || Error::runtime("division by zero");
        if let Some(other) = other.downcast::<Delta>() {
            let (left, right) = if reflected { (other, self) } else { (self, other) };
            return Some(match symbol {
                "+" => Delta(left.0 + right.0).value(),
                "-" => Delta(left.0 - right.0).value(),
                "/" | "//" | "%" if right.0 == 0 => Err(zero()),
                "/" => Ok(Value::Float(left.0 as f64 / right.0 as f64)),
                "//" => {
                    let quotient = left.0 / right.0;
                    let rest = left.0 % right.0;
                    let down = rest != 0 && (rest < 0) != (right.0 < 0);
                    Ok(Value::Int(quotient - i128::from(down)))
                }
                "%" => {
                    let rest = left.0 % right.0;
                    let fix = if rest != 0 && (rest < 0) != (right.0 < 0) { right.0 } else { 0 };
                    Delta(rest + fix).value()
                }
                _ => return None,
            });
        }
        Some(match (symbol, other) {
            ("neg", _) => Delta(-self.0).value(),
            ("abs", _) => Delta(self.0.abs()).value(),
            ("*", Value::Float(factor)) => self.scaled(*factor).value(),
            ("*", other) => match self.0.checked_mul(other.as_int()?) {
                Some(product) => Delta(product).value(),
                None => Err(Error::runtime("the timedelta is too large")),
            },
            ("/", Value::Float(by)) if !reflected => {
                if *by == 0.0 {
                    Err(zero())
                } else {
                    self.scaled(1.0 / by).value()
                }
            }
            ("/" | "//", other) if !reflected => match (symbol, other.as_int()?) {
                (_, 0) => Err(zero()),
                ("/", by) => self.divided(by).value(),
                (_, by) => {
                    let quotient = self.0 / by;
                    let down = self.0 % by != 0 && (self.0 < 0) != (by < 0);
                    Delta(quotient - i128::from(down)).value()
                }
            },
            _ => return None,
        })
    }

    fn render(&self) -> String {
        let days = self.0.div_euclid(DAY);
        let rest = self.0.rem_euclid(DAY);
        let (seconds, micros) = (rest / SECOND, rest % SECOND);
        let mut out = match days {
            0 => String::new(),
            1 | -1 => format!("{days} day, "),
            _ => format!("{days} days, "),
        };
        out.push_str(&format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
        if micros > 0 {
            out.push_str(&format!(".{micros:06}"));
        }
        out
    }

    fn repr(&self) -> String {
        let rest = self.0.rem_euclid(DAY);
        let mut parts = Vec::new();
        for (name, part) in [
            ("days", self.0.div_euclid(DAY)),
            ("seconds", rest / SECOND),
            ("microseconds", rest % SECOND),
        ] {
            if part != 0 {
                parts.push(format!("{name}={part}"));
            }
        }
        let inner = if parts.is_empty() { "0".to_string() } else { parts.join(", ") };
        format!("datetime.timedelta({inner})")
    }
}

//! PostgreSQL's `numeric` in its binary form: groups of four decimal digits.

use std::fmt::Write;

/// A `numeric`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Numeric<'a> {
    /// A number.
    Finite {
        negative: bool,
        /// The power of 10,000 of the first group.
        weight: i16,
        /// Digits behind the point that are shown.
        scale: u16,
        /// Two bytes for each group, most significant first.
        groups: &'a [u8],
    },
    /// Not a number.
    NaN,
    /// Without bound.
    Infinite { negative: bool },
}

impl<'a> Numeric<'a> {
    /// Reads the binary form; `None` when it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u16> {
            Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
        };
        let (count, weight, sign, scale) = (word(0)?, word(2)?, word(4)?, word(6)?);
        Some(match sign {
            0x0000 | 0x4000 => Numeric::Finite {
                negative: sign == 0x4000,
                weight: weight as i16,
                scale,
                groups: bytes.get(8..8 + 2 * usize::from(count))?,
            },
            0xC000 => Numeric::NaN,
            0xD000 => Numeric::Infinite { negative: false },
            0xF000 => Numeric::Infinite { negative: true },
            _ => return None,
        })
    }

    /// The group with this power of 10,000.
    fn group(&self, power: i32) -> u16 {
        let Numeric::Finite { weight, groups, .. } = self else { return 0 };
        let Ok(index) = usize::try_from(i32::from(*weight) - power) else { return 0 };
        match groups.get(2 * index..2 * index + 2) {
            Some(pair) => u16::from_be_bytes([pair[0], pair[1]]),
            None => 0,
        }
    }

    /// The number times ten to the power of `scale`, when it is finite, has no more digits than that
    /// and fits.
    pub(super) fn unscaled(&self, scale: i8) -> Option<i128> {
        let Numeric::Finite { negative, weight, groups, .. } = self else { return None };
        let last = i32::from(*weight) - (groups.len() as i32 / 2) + 1;
        let exponent = 4 * last + i32::from(scale);
        // Up to sixteen digits there is room in 64 bits, which are much quicker to divide.
        let value = if groups.len() <= 8 {
            let mut value: u64 = 0;
            for pair in groups.chunks_exact(2) {
                value = value * 10_000 + u64::from(u16::from_be_bytes([pair[0], pair[1]]));
            }
            let power = usize::try_from(exponent.unsigned_abs()).ok()?;
            match POWERS.get(power) {
                _ if value == 0 => 0,
                Some(by) if exponent >= 0 => i128::from(value) * i128::from(*by),
                Some(by) if value.is_multiple_of(*by) => i128::from(value / by),
                None if exponent >= 0 => i128::from(value).checked_mul(ten_to(exponent)?)?,
                _ => return None,
            }
        } else {
            self.long(scale)?
        };
        Some(if *negative { -value } else { value })
    }

    /// The unscaled number of more than sixteen digits, without its sign.
    fn long(&self, scale: i8) -> Option<i128> {
        let Numeric::Finite { weight, groups, .. } = self else { return None };
        let mut value: i128 = 0;
        // The power of ten that a group counts, after the point has moved.
        let mut power = 4 * i32::from(*weight) + i32::from(scale);
        let mut last = power;
        for pair in groups.chunks_exact(2) {
            let group = i128::from(u16::from_be_bytes([pair[0], pair[1]]));
            last = power.max(0);
            match power {
                0.. => value = value.checked_mul(10_000)?.checked_add(group)?,
                // A part of the group is behind the point: there has to be nothing.
                -3..0 => {
                    let by = ten_to(-power)?;
                    if group % by != 0 {
                        return None;
                    }
                    value = value.checked_mul(ten_to(4 + power)?)?.checked_add(group / by)?;
                }
                _ if group == 0 => {}
                _ => return None,
            }
            power -= 4;
        }
        match value {
            0 => Some(0),
            value => value.checked_mul(ten_to(last)?),
        }
    }

    /// The number as PostgreSQL writes it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // A String takes everything.
        let _ = self.write(&mut text);
        text
    }

    /// Writes the number as PostgreSQL does.
    pub(super) fn write(&self, out: &mut impl Write) -> std::fmt::Result {
        let (negative, weight, scale) = match self {
            Numeric::NaN => return out.write_str("NaN"),
            Numeric::Infinite { negative: false } => return out.write_str("Infinity"),
            Numeric::Infinite { negative: true } => return out.write_str("-Infinity"),
            Numeric::Finite { negative, weight, scale, .. } => (*negative, *weight, *scale),
        };
        if negative {
            out.write_char('-')?;
        }
        let mut begun = false;
        for power in (0..=i32::from(weight)).rev() {
            let group = self.group(power);
            if begun {
                write!(out, "{group:04}")?;
            } else if group > 0 || power == 0 {
                write!(out, "{group}")?;
                begun = true;
            }
        }
        if !begun {
            out.write_char('0')?;
        }
        if scale == 0 {
            return Ok(());
        }
        out.write_char('.')?;
        let mut left = usize::from(scale);
        let mut power = -1;
        while left > 0 {
            let mut group = self.group(power);
            for _ in 0..left.min(4) {
                let digit = u32::from(group / 1000);
                out.write_char(char::from_digit(digit, 10).unwrap_or('0'))?;
                group = group % 1000 * 10;
            }
            left = left.saturating_sub(4);
            power -= 1;
        }
        Ok(())
    }
}

/// The powers of ten that 64 bits have room for.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < 20 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Ten to this power, where there is room for it.
fn ten_to(exponent: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [groups.len() as u16, weight as u16, sign, scale].iter().chain(groups) {
            bytes.extend(word.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn numbers_are_read() {
        for (binary, text, scale, unscaled) in [
            (bytes(0, 0, 2, &[12, 3400]), "12.34", 2, Some(1234)),
            (bytes(0, 0, 2, &[12, 3400]), "12.34", 4, Some(123_400)),
            (bytes(0, 0, 2, &[12, 3400]), "12.34", 1, None),
            (bytes(1, 0x4000, 0, &[1, 2]), "-10002", 0, Some(-10_002)),
            (bytes(-1, 0, 5, &[12, 5000]), "0.00125", 5, Some(125)),
            (bytes(-2, 0, 8, &[7]), "0.00000007", 8, Some(7)),
            (bytes(2, 0, 0, &[5]), "500000000", 0, Some(500_000_000)),
            (bytes(0, 0, 3, &[]), "0.000", 3, Some(0)),
            (bytes(-40, 0, 165, &[]), &format!("0.{}", "0".repeat(165)), 3, Some(0)),
            (bytes(0, 0, 1, &[7, 5000]), "7.5", 0, None),
            (
                bytes(4, 0, 0, &[1, 2, 3, 4, 5]),
                "10002000300040005",
                2,
                Some(1_000_200_030_004_000_500),
            ),
            (
                bytes(4, 0, 2, &[1, 2, 3, 4, 5, 600]),
                "10002000300040005.06",
                2,
                Some(1_000_200_030_004_000_506),
            ),
            (bytes(4, 0, 3, &[1, 2, 3, 4, 5, 6]), "10002000300040005.000", 2, None),
            (
                bytes(6, 0, 10, &[1234, 5678, 9012, 3456, 7890, 1234, 5678, 123, 4567, 8900]),
                "1234567890123456789012345678.0123456789",
                10,
                Some(12_345_678_901_234_567_890_123_456_780_123_456_789),
            ),
            (
                bytes(9, 0x4000, 0, &[1]),
                "-1000000000000000000000000000000000000",
                0,
                Some(-10i128.pow(36)),
            ),
            (bytes(9, 0, 0, &[1000]), "1000000000000000000000000000000000000000", 0, None),
            (bytes(0, 0xC000, 0, &[]), "NaN", 0, None),
            (bytes(0, 0xF000, 0, &[]), "-Infinity", 0, None),
        ] {
            let number = Numeric::parse(&binary).unwrap();
            assert_eq!(number.text(), text);
            assert_eq!(number.unscaled(scale), unscaled, "{text}");
        }
        assert_eq!(Numeric::parse(&[0, 1]), None);
    }
}

//! PostgreSQL's `numeric` in its binary form: groups of four decimal digits.

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
        let mut value: i128 = 0;
        for power in (last..=i32::from(*weight)).rev() {
            value = value.checked_mul(10_000)?.checked_add(i128::from(self.group(power)))?;
        }
        if value == 0 {
            return Some(0);
        }
        let mut exponent = 4 * last + i32::from(scale);
        while exponent > 0 {
            value = value.checked_mul(10)?;
            exponent -= 1;
        }
        while exponent < 0 {
            if value % 10 != 0 {
                return None;
            }
            value /= 10;
            exponent += 1;
        }
        Some(if *negative { -value } else { value })
    }

    /// The number as PostgreSQL writes it.
    pub(super) fn text(&self) -> String {
        let (negative, weight, scale) = match self {
            Numeric::NaN => return "NaN".to_owned(),
            Numeric::Infinite { negative: false } => return "Infinity".to_owned(),
            Numeric::Infinite { negative: true } => return "-Infinity".to_owned(),
            Numeric::Finite { negative, weight, scale, .. } => (*negative, *weight, *scale),
        };
        let mut text = String::new();
        if negative {
            text.push('-');
        }
        let whole = text.len();
        for power in (0..=i32::from(weight)).rev() {
            let group = self.group(power);
            if text.len() == whole {
                if group > 0 || power == 0 {
                    text.push_str(&group.to_string());
                }
            } else {
                text.push_str(&format!("{group:04}"));
            }
        }
        if text.len() == whole {
            text.push('0');
        }
        if scale > 0 {
            text.push('.');
            let groups = i32::from(scale).div_euclid(4) + 1;
            let digits: String =
                (1..=groups).map(|power| format!("{:04}", self.group(-power))).collect();
            text.push_str(&digits[..usize::from(scale)]);
        }
        text
    }
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

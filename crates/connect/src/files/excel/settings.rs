//! What a table says of the workbooks that it is filled from.

use globset::Glob;
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

/// One sheet or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum SheetSetting {
    /// By its number, from 1.
    Number(u32),
    /// By its name, or a pattern.
    Name(String),
    /// Several.
    Many(Vec<SheetSetting>),
}

impl SheetSetting {
    /// Whether it can mean several sheets.
    pub(super) fn is_many(&self) -> bool {
        match self {
            SheetSetting::Number(_) => false,
            SheetSetting::Name(name) => name.contains(['*', '?']),
            SheetSetting::Many(_) => true,
        }
    }

    /// The sheets of a workbook that are meant, in its order.
    pub(super) fn choose(&self, sheets: &[String]) -> Result<Vec<String>> {
        let mut chosen = vec![false; sheets.len()];
        self.mark(sheets, &mut chosen)?;
        let chosen = sheets.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Ok(chosen.map(|(name, _)| name.clone()).collect())
    }

    fn mark(&self, sheets: &[String], chosen: &mut [bool]) -> Result<()> {
        let missing = |written: &str| {
            Error::new(ErrorKind::Data, format!("the workbook has no sheet `{written}`"))
                .with("sheets", sheets.join(", "))
        };
        match self {
            SheetSetting::Many(all) => all.iter().try_for_each(|one| one.mark(sheets, chosen)),
            SheetSetting::Number(number) => {
                let at = (*number as usize).checked_sub(1);
                match at.and_then(|at| chosen.get_mut(at)) {
                    Some(chosen) => *chosen = true,
                    None => return Err(missing(&number.to_string())),
                }
                Ok(())
            }
            SheetSetting::Name(name) => {
                if let Some(at) = sheets.iter().position(|sheet| sheet == name) {
                    chosen[at] = true;
                    return Ok(());
                }
                if !self.is_many() {
                    return Err(missing(name));
                }
                let pattern = Glob::new(name).map_err(|error| {
                    Error::new(ErrorKind::Config, format!("`sheet: {name}` is not a pattern"))
                        .because(error)
                })?;
                let pattern = pattern.compile_matcher();
                let mut found = false;
                for (sheet, chosen) in sheets.iter().zip(chosen) {
                    if pattern.is_match(sheet) {
                        (*chosen, found) = (true, true);
                    }
                }
                if found { Ok(()) } else { Err(missing(name)) }
            }
        }
    }
}

/// What an error in a cell is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellErrors {
    /// NULL, with a note.
    #[default]
    Null,
    /// Its text.
    Text,
    /// A reason to reject the row.
    Reject,
}

/// What cells have that are merged with another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergedCells {
    /// Nothing.
    #[default]
    First,
    /// The value of the first one.
    Repeat,
}

/// A part of a sheet; rows and columns counted from 0, the last ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellRange {
    pub(super) first_row: u32,
    pub(super) first_column: u32,
    pub(super) last_row: u32,
    pub(super) last_column: u32,
}

impl CellRange {
    const ALL: CellRange =
        CellRange { first_row: 0, first_column: 0, last_row: u32::MAX, last_column: u32::MAX };

    /// Reads `B3:F100`, `B3:F`, `B:F` or `B3`.
    pub(crate) fn parse(written: Option<&str>) -> Result<CellRange> {
        let Some(written) = written else { return Ok(CellRange::ALL) };
        let wrong = || {
            Error::new(
                ErrorKind::Config,
                format!(
                    "`range` must be cells such as `B3:F100`, `B3:F` or `B:F`, not `{written}`"
                ),
            )
        };
        let (from, to) = match written.split_once(':') {
            Some((from, to)) => (from, Some(to)),
            None => (written, None),
        };
        let (first_column, first_row) = cell(from).ok_or_else(wrong)?;
        let (last_column, last_row) = match to {
            Some(to) => cell(to).ok_or_else(wrong)?,
            None => (u32::MAX, None),
        };
        let range = CellRange {
            first_row: first_row.unwrap_or(0),
            first_column,
            last_row: last_row.unwrap_or(u32::MAX),
            last_column,
        };
        let empty = range.last_row < range.first_row || range.last_column < range.first_column;
        if empty { Err(wrong()) } else { Ok(range) }
    }

    pub(super) fn has(&self, row: u32, column: u32) -> bool {
        (self.first_row..=self.last_row).contains(&row)
            && (self.first_column..=self.last_column).contains(&column)
    }
}

/// `B3` is (1, 2), `B` is (1, none).
fn cell(text: &str) -> Option<(u32, Option<u32>)> {
    let text = text.trim().replace('$', "");
    let digits = text.find(|letter: char| letter.is_ascii_digit()).unwrap_or(text.len());
    let (letters, digits) = text.split_at(digits);
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let mut column = 0u32;
    for letter in letters.bytes() {
        let letter = letter.to_ascii_uppercase();
        column = column * 26 + u32::from(letter.checked_sub(b'A').filter(|it| *it < 26)?) + 1;
    }
    let row = match digits {
        "" => None,
        digits => Some(digits.parse::<u32>().ok()?.checked_sub(1)?),
    };
    Some((column - 1, row))
}

/// `B3` of row 2 and column 1.
pub(super) fn cell_name(row: u32, column: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = column + 1;
    while rest > 0 {
        letters.push(char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    let letters: String = letters.into_iter().rev().collect();
    format!("{letters}{}", u64::from(row) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |text| CellRange::parse(Some(text)).ok();
        let of = |first_row, first_column, last_row, last_column| {
            Some(CellRange { first_row, first_column, last_row, last_column })
        };
        assert_eq!(range("B3:F100"), of(2, 1, 99, 5));
        assert_eq!(range("$b$3:f"), of(2, 1, u32::MAX, 5));
        assert_eq!(range("A:AA"), of(0, 0, u32::MAX, 26));
        assert_eq!(range("B3"), of(2, 1, u32::MAX, u32::MAX));
        for wrong in ["", "3", "B0", "F:B", "B3:B2", "A1:B2:C3", "ABCD1"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        assert_eq!(cell_name(2, 1), "B3");
        assert_eq!(cell_name(0, 27), "AB1");
    }

    #[test]
    fn sheets_are_chosen() {
        let sheets = ["Jan", "Feb", "notes"].map(str::to_owned);
        let choose = |setting: serde_json::Value| {
            serde_json::from_value::<SheetSetting>(setting).unwrap().choose(&sheets)
        };
        assert_eq!(choose(2.into()).unwrap(), ["Feb"]);
        assert_eq!(choose("notes".into()).unwrap(), ["notes"]);
        assert_eq!(choose("*e*".into()).unwrap(), ["Feb", "notes"]);
        assert_eq!(choose(serde_json::json!(["notes", 1])).unwrap(), ["Jan", "notes"]);
        for missing in [serde_json::json!(4), "feb".into(), "x*".into(), 0.into()] {
            let error = choose(missing).unwrap_err().report();
            assert!(error.contains("has no sheet") && error.contains("Jan, Feb, notes"), "{error}");
        }
    }
}

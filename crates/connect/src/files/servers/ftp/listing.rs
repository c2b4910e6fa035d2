//! What lines of a listing say.

use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, Utc};
use suppaftp::list::ListParser;

use super::super::{Look, Named};

/// A time as `MLSD` and `MDTM` write it: `20240131235959.123`, in UTC.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(text.trim(), "%Y%m%d%H%M%S%.f").ok()?;
    Some(time.and_utc())
}

/// A line of `MLSD` or `MLST`: facts, and a name behind them. None for the folder itself, the one above,
/// and what is neither a file nor a folder.
pub(super) fn facts(line: &str) -> Option<Named> {
    let (facts, name) =
        line.trim_start_matches(' ').split_once("; ").or_else(|| line.split_once(' '))?;
    let (mut is_folder, mut size, mut modified) = (None, 0, None);
    for fact in facts.split(';') {
        let (key, value) = fact.split_once('=').unwrap_or((fact, ""));
        match key.to_ascii_lowercase().as_str() {
            "type" => {
                is_folder = match value.to_ascii_lowercase().as_str() {
                    "file" => Some(false),
                    "dir" => Some(true),
                    // A link of a server that tells no more of it.
                    other if other.starts_with("os.unix=slink") => Some(false),
                    _ => return None,
                };
            }
            "size" => size = value.parse().ok()?,
            "modify" => modified = time(value),
            _ => {}
        }
    }
    let is_link = facts.to_ascii_lowercase().contains("type=os.unix=slink");
    let look = Look { is_folder: is_folder?, size, modified: modified.unwrap_or_default() };
    Some(Named { name: name.to_owned(), look, is_exact: modified.is_some() && !is_link })
}

/// A line of `LIST`, as `ls -l` of Unix or `dir` of Windows writes it. Its time is of some zone and often of
/// the day alone, so that it is not exact.
pub(super) fn long(line: &str) -> Option<Named> {
    let file = ListParser::parse_posix(line).or_else(|_| ListParser::parse_dos(line)).ok()?;
    let modified: DateTime<Utc> = file.modified().max(SystemTime::UNIX_EPOCH).into();
    let look = Look { is_folder: file.is_directory(), size: file.size() as u64, modified };
    let name = file.name().to_owned();
    Some(Named { name, look, is_exact: file.is_directory() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_listings() {
        let file = facts("type=file;size=12;modify=20240131235959.5;perm=r; a b; c.csv").unwrap();
        assert_eq!((file.name.as_str(), file.look.size, file.is_exact), ("a b; c.csv", 12, true));
        assert_eq!(file.look.modified.to_rfc3339(), "2024-01-31T23:59:59.500+00:00");
        let folder = facts(" Type=dir;Modify=20240131235959; x").unwrap();
        assert!(folder.look.is_folder && folder.name == "x");
        assert!(facts("type=cdir;modify=20240131235959; .").is_none());
        assert!(facts("type=pdir;modify=20240131235959; ..").is_none());
        let file = long("-rw-r--r--    1 0        0              25 Jan 31 12:30 a b.csv").unwrap();
        assert_eq!((file.name.as_str(), file.look.size, file.is_exact), ("a b.csv", 25, false));
        assert!(
            long("drwxr-xr-x    2 0        0            4096 Jan 31  2023 in")
                .unwrap()
                .look
                .is_folder
        );
        assert!(long("total 8").is_none());
    }
}

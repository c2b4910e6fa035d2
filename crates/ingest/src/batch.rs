//! The batch that comes next, by name.

use tidemill_core::Position;
use xxhash_rust::xxh3::xxh3_64;

/// The name of the batch that begins at a position: another one, once that has moved on. `None` is the
/// beginning.
pub fn batch_id(position: Option<&Position>) -> String {
    let text = position.map(Position::to_string).unwrap_or_default();
    format!("{:08x}", xxh3_64(text.as_bytes()) >> 32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_has_another_name_when_the_position_moves_on() {
        let names = [None, Some(json!({"value": 1})), Some(json!({"value": 2}))]
            .map(|position| batch_id(position.map(Position).as_ref()));
        assert!(names.iter().all(|name| name.len() == 8));
        assert_ne!(names[0], names[1]);
        assert_ne!(names[1], names[2]);
    }
}

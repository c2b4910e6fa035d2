//! What is a list or a struct in one row is one in all.

use super::element::TEXT;
use crate::files::infer::Seen;
use crate::files::types::{Shape, Types};

/// Takes what was seen of an element once for what is seen of it in a list, and its text for the text
/// of the struct that it is elsewhere. Not where `base`, what the table was made from, says
/// otherwise: such a column becomes text, as any that is of two kinds.
pub(crate) fn settle(types: &mut Types, base: &Types) {
    let names: Vec<String> = types.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        settle_shape(types.entry(&name), base.get(&name));
    }
}

fn settle_shape(shape: &mut Shape, base: Option<&Shape>) {
    let was = |kind| base.is_none_or(|base| base.seen == Seen::NOTHING || base.seen == kind);
    if shape.seen.contains(Seen::LIST) && was(Seen::LIST) {
        let once = shape.seen.without(Seen::LIST);
        let fields = std::mem::take(&mut shape.fields);
        let item = shape.item.get_or_insert_default();
        item.seen.add(once);
        item.fields.merge(&fields);
        shape.seen = Seen::LIST;
        settle_shape(item, base.and_then(|base| base.item.as_deref()));
    } else if shape.seen.contains(Seen::STRUCT) && was(Seen::STRUCT) {
        let text = shape.seen.without(Seen::STRUCT);
        if text != Seen::NOTHING {
            shape.fields.entry(TEXT).seen.add(text);
        }
        shape.seen = Seen::STRUCT;
        let nothing = Types::default();
        settle(&mut shape.fields, base.map_or(&nothing, |base| &base.fields));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_wins() {
        let mut types = Types::default();
        types.entry("tag").seen = Seen::LIST.and(Seen::INTEGER);
        types.entry("price").seen = Seen::STRUCT.and(Seen::DOUBLE);
        types.entry("price").fields.entry("currency").seen = Seen::TEXT;
        let unsettled = types.clone();
        settle(&mut types, &Types::default());
        let tag = types.get("tag").unwrap();
        assert_eq!((tag.seen, tag.item.as_ref().unwrap().seen), (Seen::LIST, Seen::INTEGER));
        let price = types.get("price").unwrap();
        assert_eq!(price.seen, Seen::STRUCT);
        assert_eq!(price.fields.get(TEXT).unwrap().seen, Seen::DOUBLE);
        let again = types.clone();
        settle(&mut types, &again.clone());
        assert_eq!(types, again);
        // A table of plain values stays one.
        let mut base = Types::default();
        base.entry("tag").seen = Seen::INTEGER;
        let mut types = unsettled.clone();
        settle(&mut types, &base);
        assert_eq!(types.get("tag"), unsettled.get("tag"));
    }
}

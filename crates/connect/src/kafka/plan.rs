//! What of which partition is read, and whether that can be.

use std::collections::BTreeMap;

use tidemill_core::{Error, ErrorKind, Result};

use super::position::{KafkaPosition, TopicPosition};
use crate::queue::{OnLost, Start};

/// Which messages a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The oldest offset that is there.
    pub(super) earliest: i64,
    /// The first offset that must not be read yet: the end, or the first open transaction.
    pub(super) end: i64,
    /// The end.
    pub(super) high: i64,
}

impl Bounds {
    /// How many messages there are, at most.
    pub(super) fn messages(self) -> u64 {
        u64::try_from(self.high - self.earliest).unwrap_or_default()
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    /// `None` where the broker has no ids of topics.
    pub(super) id: Option<String>,
    pub(super) bounds: BTreeMap<i32, Bounds>,
}

/// Offsets of one partition that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) from: i64,
    /// The first one that is not read.
    pub(super) end: i64,
}

/// What is read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Of each partition, also of those of which nothing is.
    pub(super) ranges: Vec<Range>,
    /// Where it begins.
    pub(super) position: KafkaPosition,
    /// What the user should know: a code and a sentence.
    pub(super) notices: Vec<(&'static str, String)>,
}

/// How a read is meant.
pub(super) struct Rules<'a> {
    /// Where the first load begins; later ones begin new partitions and topics with their oldest message.
    pub(super) start: &'a Start,
    /// For a start by time: what the broker said.
    pub(super) at: &'a BTreeMap<(String, i32), i64>,
    pub(super) on_lost: OnLost,
}

/// Decides.
///
/// # Errors
/// Kind `Data` where messages are lost and that is not declared, `Config` for a start that is not there.
pub(super) fn decide(
    topics: &[Topic],
    last: Option<&KafkaPosition>,
    rules: &Rules<'_>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut lost = Vec::new();
    for topic in topics {
        let before = last.and_then(|last| last.topics.get(&topic.name));
        let other = before.and_then(|before| made_again(topic, before));
        if let Some(why) = other.as_deref() {
            if rules.on_lost == OnLost::Error {
                return Err(again(&topic.name, why));
            }
            plan.notices.push((
                "new-topic",
                format!("{why}: it is another topic now, which is read from its beginning"),
            ));
        }
        let before = before.filter(|_| other.is_none());
        let read = plan.position.topics.entry(topic.name.clone()).or_default();
        read.id.clone_from(&topic.id);
        for (partition, bounds) in &topic.bounds {
            let from = match before.and_then(|before| before.offsets.get(partition)) {
                Some(offset) if *offset < bounds.earliest => {
                    lost.push((topic.name.as_str(), *partition, *offset, bounds.earliest));
                    bounds.earliest
                }
                Some(offset) => *offset,
                None if last.is_some() => bounds.earliest,
                None => first(topic, *partition, *bounds, rules)?,
            };
            read.offsets.insert(*partition, from);
            plan.ranges.push(Range {
                topic: topic.name.clone(),
                partition: *partition,
                from,
                end: bounds.end.max(from),
            });
        }
    }
    if !lost.is_empty() {
        plan.notices.push(("lost-messages", rules.on_lost.take(lost_sentence(&lost))?));
    }
    // What is not there any more: who makes it again must not be taken for what it was.
    for (name, before) in last.iter().flat_map(|last| &last.topics) {
        if !plan.position.topics.contains_key(name) {
            plan.notices
                .push(("vanished-topic", format!("the topic `{name}` is gone; its rows stay")));
            plan.position.topics.insert(name.clone(), before.clone());
        }
    }
    Ok(plan)
}

/// Why a topic is not the one that was read, if it is not.
fn made_again(topic: &Topic, before: &TopicPosition) -> Option<String> {
    if let (Some(old), Some(new)) = (&before.id, &topic.id)
        && old != new
    {
        return Some(format!("`{}` was deleted and made again", topic.name));
    }
    if let Some(partition) =
        before.offsets.keys().find(|partition| !topic.bounds.contains_key(*partition))
    {
        return Some(format!("`{}` has no partition {partition} any more", topic.name));
    }
    before.offsets.iter().find_map(|(partition, offset)| {
        let high = topic.bounds.get(partition)?.high;
        (*offset > high).then(|| {
            format!("`{}[{partition}]` was read up to {offset} and ends at {high} now", topic.name)
        })
    })
}

fn again(topic: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Data,
        format!(
            "{why}: this is not the topic that was read, so that the position says nothing about it; with \
             `on_lost: earliest` the load adds what it has now, and --full-refresh makes the table of that alone"
        ),
    )
    .with("topic", topic)
}

/// Which messages are gone: topic, partition, the position, the oldest that is there.
pub(super) fn lost_sentence(lost: &[(&str, i32, i64, i64)]) -> String {
    let total: i64 = lost.iter().map(|(_, _, position, earliest)| earliest - position).sum();
    const SHOWN: usize = 3;
    let shown: Vec<String> = lost
        .iter()
        .take(SHOWN)
        .map(|(topic, partition, position, earliest)| {
            format!(
                "{} of `{topic}[{partition}]` (offsets {position} to {})",
                earliest - position,
                earliest - 1
            )
        })
        .collect();
    let more = match lost.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and of {more} more partitions"),
    };
    format!(
        "up to {total} messages were deleted at the broker before they were read: {}{more}",
        shown.join(", ")
    )
}

/// Where the first load begins.
fn first(topic: &Topic, partition: i32, bounds: Bounds, rules: &Rules<'_>) -> Result<i64> {
    let offset = match rules.start {
        Start::Earliest => return Ok(bounds.earliest),
        Start::Latest => return Ok(bounds.end),
        Start::At(_) => {
            let at = rules.at.get(&(topic.name.clone(), partition)).copied();
            return Ok(at.unwrap_or(bounds.end).clamp(bounds.earliest, bounds.end));
        }
        Start::Offset(offset) => *offset,
        Start::Offsets(offsets) => match offsets.get(&partition) {
            Some(offset) => *offset,
            None => return Ok(bounds.earliest),
        },
    };
    if offset > bounds.high {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "`start` is {offset}, and `{}[{partition}]` ends at {}",
                topic.name, bounds.high
            ),
        ));
    }
    Ok(offset.max(bounds.earliest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: &str, bounds: &[(i64, i64)]) -> Topic {
        let bounds = bounds.iter().enumerate().map(|(partition, (earliest, end))| {
            (partition as i32, Bounds { earliest: *earliest, end: *end, high: *end })
        });
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        Topic { name: "t".to_owned(), id, bounds: bounds.collect() }
    }

    fn last(id: &str, offsets: &[i64]) -> KafkaPosition {
        let mut position = KafkaPosition::default();
        for (partition, offset) in offsets.iter().enumerate() {
            position.set("t", partition as i32, *offset);
        }
        position.topics.get_mut("t").unwrap().id = Some(id.to_owned()).filter(|id| !id.is_empty());
        position
    }

    fn ranges(
        topic: &Topic,
        last: Option<&KafkaPosition>,
        start: &Start,
        on_lost: OnLost,
    ) -> Result<(Vec<(i64, i64)>, usize)> {
        let at = BTreeMap::from([(("t".to_owned(), 0), 7)]);
        let rules = Rules { start, at: &at, on_lost };
        let plan = decide(std::slice::from_ref(topic), last, &rules)?;
        Ok((plan.ranges.iter().map(|range| (range.from, range.end)).collect(), plan.notices.len()))
    }

    #[test]
    fn the_first_load_begins_where_it_is_told_to() {
        let topic = topic("a", &[(5, 10), (0, 0)]);
        let of = |start: Start| ranges(&topic, None, &start, OnLost::Error).map(|(found, _)| found);
        assert_eq!(of(Start::Earliest).unwrap(), [(5, 10), (0, 0)]);
        assert_eq!(of(Start::Latest).unwrap(), [(10, 10), (0, 0)]);
        assert_eq!(of(Start::At(1)).unwrap(), [(7, 10), (0, 0)]);
        assert_eq!(of(Start::Offsets([(0, 8)].into())).unwrap(), [(8, 10), (0, 0)]);
        assert_eq!(of(Start::Offset(0)).unwrap(), [(5, 10), (0, 0)]);
        assert!(of(Start::Offset(9)).unwrap_err().message().contains("`t[1]` ends at 0"));
    }

    #[test]
    fn a_new_partition_is_read_from_its_beginning() {
        let topic = topic("a", &[(0, 10), (2, 6)]);
        let last = last("a", &[4]);
        let found = ranges(&topic, Some(&last), &Start::Latest, OnLost::Error).unwrap();
        assert_eq!(found, (vec![(4, 10), (2, 6)], 0));
    }

    #[test]
    fn an_open_transaction_holds_the_end_and_not_the_position() {
        let mut topic = topic("a", &[(0, 10)]);
        topic.bounds.get_mut(&0).unwrap().end = 3;
        let last = last("a", &[8]);
        let found = ranges(&topic, Some(&last), &Start::Earliest, OnLost::Error).unwrap();
        assert_eq!(found.0, [(8, 8)]);
    }

    #[test]
    fn messages_that_are_gone_are_said_with_their_number() {
        let topic = topic("a", &[(100, 110), (0, 5)]);
        let last = last("a", &[90, 5]);
        let error = ranges(&topic, Some(&last), &Start::Earliest, OnLost::Error).unwrap_err();
        assert!(
            error.message().contains("up to 10 messages") && error.message().contains("90 to 99"),
            "{error}"
        );
        let found = ranges(&topic, Some(&last), &Start::Earliest, OnLost::Earliest).unwrap();
        assert_eq!(found, (vec![(100, 110), (5, 5)], 1));
    }

    #[test]
    fn a_topic_that_was_made_again_is_another_one() {
        for (topic, last) in [
            (topic("b", &[(0, 50)]), last("a", &[20])),
            (topic("", &[(0, 3)]), last("", &[20])),
            (topic("", &[(0, 30)]), last("", &[20, 0])),
        ] {
            let error = ranges(&topic, Some(&last), &Start::Earliest, OnLost::Error).unwrap_err();
            assert!(error.message().contains("not the topic that was read"), "{error}");
            let (found, notices) =
                ranges(&topic, Some(&last), &Start::Earliest, OnLost::Earliest).unwrap();
            assert_eq!((found[0].0, notices), (0, 1));
        }
    }

    #[test]
    fn a_topic_that_is_gone_keeps_its_position() {
        let rules = Rules { start: &Start::Earliest, at: &BTreeMap::new(), on_lost: OnLost::Error };
        let last = last("a", &[20]);
        let plan = decide(&[], Some(&last), &rules).unwrap();
        assert_eq!(plan.position, last);
        assert_eq!(plan.notices[0].0, "vanished-topic");
    }
}

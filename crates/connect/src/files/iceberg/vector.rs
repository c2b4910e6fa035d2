//! Deletion vectors: the places of deleted rows of one file, as a bitmap.
//!
//! Source: "Puffin Spec", blob `deletion-vector-v1`; "Roaring Bitmap Format Specification".

/// What the bitmap begins with.
const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];

/// With and without containers of runs.
const WITH_RUNS: u32 = 12_347;
const WITHOUT_RUNS: u32 = 12_346;

/// A container of more values is a bitmap, and one of fewer a list.
const LARGEST_LIST: usize = 4096;

/// From so many containers on their places are written, where there are runs.
const PLACES_FROM: usize = 4;

/// Hands each place of a blob to `each`; gives how many there are. `None` for a blob that is damaged.
pub(super) fn each_place(blob: &[u8], each: &mut dyn FnMut(u64)) -> Option<u64> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (vector, checksum) = rest.split_at_checked(length)?;
    let mut crc = flate2::Crc::new();
    crc.update(vector);
    if checksum != crc.sum().to_be_bytes() {
        return None;
    }
    let mut bytes = Bytes(vector.strip_prefix(&MAGIC)?);
    let mut count = 0;
    for _ in 0..bytes.u64()? {
        let high = u64::from(bytes.u32()?) << 32;
        bitmap(&mut bytes, &mut |low| {
            count += 1;
            each(high | u64::from(low));
        })?;
    }
    bytes.0.is_empty().then_some(count)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// One bitmap of 32 bits.
fn bitmap(bytes: &mut Bytes<'_>, each: &mut dyn FnMut(u32)) -> Option<()> {
    let cookie = bytes.u32()?;
    let (containers, runs) = match cookie & 0xFFFF {
        WITH_RUNS => {
            let containers = usize::try_from(cookie >> 16).ok()? + 1;
            (containers, Some(bytes.take(containers.div_ceil(8))?))
        }
        _ if cookie == WITHOUT_RUNS => (usize::try_from(bytes.u32()?).ok()?, None),
        _ => return None,
    };
    if containers > 1 << 16 {
        return None;
    }
    let mut headers = Vec::with_capacity(containers);
    for _ in 0..containers {
        headers.push((bytes.u16()?, usize::from(bytes.u16()?) + 1));
    }
    if runs.is_none() || containers >= PLACES_FROM {
        // Containers stand one behind the other anyway.
        bytes.take(4 * containers)?;
    }
    for (at, (key, count)) in headers.into_iter().enumerate() {
        let high = u32::from(key) << 16;
        let is_run = runs.is_some_and(|flags| flags[at / 8] & (1 << (at % 8)) != 0);
        if is_run {
            for _ in 0..bytes.u16()? {
                let (start, more) = (bytes.u16()?, bytes.u16()?);
                let end = start.checked_add(more)?;
                (start..=end).for_each(|low| each(high | u32::from(low)));
            }
        } else if count <= LARGEST_LIST {
            for _ in 0..count {
                each(high | u32::from(bytes.u16()?));
            }
        } else {
            for word in 0..1024u32 {
                let mut bits = bytes.u64()?;
                while bits != 0 {
                    each(high | (word * 64 + bits.trailing_zeros()));
                    bits &= bits - 1;
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob of this bitmap of 32 bits.
    fn blob(bitmap: &[u8]) -> Vec<u8> {
        let mut vector = MAGIC.to_vec();
        vector.extend_from_slice(&1u64.to_le_bytes());
        vector.extend_from_slice(&2u32.to_le_bytes());
        vector.extend_from_slice(bitmap);
        let mut crc = flate2::Crc::new();
        crc.update(&vector);
        let mut blob = (vector.len() as u32).to_be_bytes().to_vec();
        blob.extend_from_slice(&vector);
        blob.extend_from_slice(&crc.sum().to_be_bytes());
        blob
    }

    fn places(blob: &[u8]) -> Option<Vec<u64>> {
        let mut places = Vec::new();
        let count = each_place(blob, &mut |place| places.push(place))?;
        assert_eq!(count, places.len() as u64);
        Some(places)
    }

    #[test]
    fn lists_and_runs_are_read() {
        let list =
            [&WITHOUT_RUNS.to_le_bytes()[..], &[1, 0, 0, 0, 3, 0, 1, 0, 16, 0, 0, 0, 5, 0, 9, 0]];
        let high = 2u64 << 32 | 3 << 16;
        assert_eq!(places(&blob(&list.concat())).unwrap(), [high | 5, high | 9]);
        // One container, which is of runs: 5 to 7, and 9.
        let runs = [0x3B, 0x30, 0, 0, 1, 0, 0, 3, 0, 2, 0, 5, 0, 2, 0, 9, 0, 0, 0];
        let low = 2u64 << 32;
        assert_eq!(places(&blob(&runs)).unwrap(), [5, 6, 7, 9].map(|place| low | place));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let list =
            [&WITHOUT_RUNS.to_le_bytes()[..], &[1, 0, 0, 0, 3, 0, 1, 0, 16, 0, 0, 0, 5, 0, 9, 0]];
        let whole = blob(&list.concat());
        assert!(places(&whole).is_some());
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            assert!(places(&bent).is_none(), "byte {at}");
            assert!(places(&whole[..at]).is_none(), "cut at {at}");
        }
        // Right by its checksum, and too short.
        assert!(places(&blob(&list.concat()[..18])).is_none());
        assert!(places(&blob(&[1, 2, 3, 4])).is_none());
    }
}

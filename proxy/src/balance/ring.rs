//! Consistent hashing, point for point that of lua-resty-balancer's `chash`, which ingress-nginx uses: a client lands on
//! the same endpoint here and there.
//!
//! A name of weight 1 has 160 points. The first is the CRC-32 of the name followed by four zero bytes, each further one
//! that of the name followed by the point before it in little endian. A key belongs to the first point that is not below
//! its own CRC-32, and to the first of all after the last.

use crc32fast::Hasher;

/// Points of a name of weight 1.
const POINTS: u32 = 160;

/// Names on a ring, by position.
#[derive(Debug)]
pub(super) struct Ring {
    /// Hash and position of the name, sorted.
    points: Box<[(u32, u32)]>,
}

// === impl Ring ===

impl Ring {
    pub(super) fn new(names: impl Iterator<Item = (String, u32)>) -> Self {
        let mut points = Vec::new();
        for (position, (name, weight)) in (0..).zip(names) {
            let mut base = Hasher::new();
            base.update(name.as_bytes());
            let mut hash = 0_u32;
            for _ in 0..weight * POINTS {
                let mut point = base.clone();
                point.update(&hash.to_le_bytes());
                hash = point.finalize();
                points.push((hash, position));
            }
        }
        points.sort_unstable();
        Self { points: points.into_boxed_slice() }
    }

    /// The positions that a hash leads to, the nearest first. Each may come many times.
    pub(super) fn from(&self, hash: u32) -> impl Iterator<Item = usize> {
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before).map(|(_, position)| *position as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(ring: &Ring, key: &str) -> usize {
        ring.from(crc32fast::hash(key.as_bytes())).next().expect("a point")
    }

    /// Computed with the algorithm of the library's chash.c, written down independently with zlib's crc32.
    #[test]
    fn points_and_look_ups_are_those_of_the_library() {
        let names = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"];
        let ring = Ring::new(names.iter().map(|name| ((*name).to_owned(), 1)));
        assert_eq!(ring.points.len(), 480);
        assert_eq!(ring.points[..3], [(0x0015365e, 0), (0x00b1de88, 1), (0x01251b8e, 1)]);
        assert_eq!(ring.points[479], (0xff96e957, 1));
        for (key, expected) in
            [("/", 0), ("/index.html", 0), ("/a?b=c", 1), ("alice", 2), ("bob", 0), ("10.1.2.3", 0), ("", 0)]
        {
            assert_eq!(find(&ring, key), expected, "{key}");
        }
    }

    #[test]
    fn an_endpoint_that_goes_moves_only_its_own_keys() {
        let names = |skip: usize| {
            let names = (0..10).filter(move |number| *number != skip);
            Ring::new(names.map(|number| (format!("10.0.0.{number}:80"), 1)))
        };
        let (all, without) = (names(99), names(4));
        for key in 0..2000 {
            let key = format!("/{key}");
            let before = find(&all, &key);
            let after = find(&without, &key);
            let after = if after >= 4 { after + 1 } else { after };
            assert!(before == after || before == 4, "{key} moved from {before} to {after}");
        }
    }
}

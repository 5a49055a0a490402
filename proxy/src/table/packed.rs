//! Few bytes, where their owner is.

use std::fmt;

/// Bytes that never change. Up to `N` of them lie in the value itself: whoever compares them does not wait for another
/// place in memory. `N` is best two less than a multiple of eight, and fits into a byte.
#[derive(Clone)]
pub(super) enum Packed<const N: usize> {
    /// So many bytes of these.
    Short(u8, [u8; N]),
    Long(Box<[u8]>),
}

// === impl Packed ===

impl<const N: usize> Packed<N> {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; N];
        match (u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl<const N: usize> fmt::Debug for Packed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_bytes(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::Packed;

    #[test]
    fn what_goes_in_comes_out_however_much_it_is() {
        for length in [0, 1, 29, 30, 31, 255, 256, 300] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            assert_eq!(Packed::<30>::new(&bytes).as_bytes(), bytes);
            assert_eq!(Packed::<254>::new(&bytes).as_bytes(), bytes);
        }
    }
}

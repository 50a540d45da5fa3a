//! Frames that were checked once, to compare others with. In a fan-out every subscriber is to get the same bytes: so one frame of
//! a publication is parsed, inflated and looked through, and the other subscribers' are compared with it, byte by byte. That
//! checks as much and takes a fraction of the time, which a generator on one core needs that is not to be the slow side.
//!
//! Without: whose turn it is, which the caller knows by the number that a subscriber is to get next.
//!
//! Invariant: a frame that is kept means the publication that it is kept for, wherever the same extensions were agreed and no
//! message has begun.

/// Publications whose frames are kept: the latest, and more than are under way as a rule. Of others each frame is parsed.
const PLACES: usize = 256;

/// The latest publications' frames, each in the place that its number leads to.
pub(crate) struct Known {
    places: Vec<Place>,
}

#[derive(Clone, Default)]
struct Place {
    /// Nothing is kept here at first.
    number: Option<u64>,
    is_deflating: bool,
    frame: Vec<u8>,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known { places: vec![Place::default(); PLACES] }
    }

    /// The frame of a publication, where one was kept; `is_deflating`: permessage-deflate was agreed.
    pub(crate) fn get(&self, number: u64, is_deflating: bool) -> Option<&[u8]> {
        let place = &self.places[number as usize % PLACES];
        (place.number == Some(number) && place.is_deflating == is_deflating).then_some(&place.frame[..])
    }

    /// Keeps the frame that `write` appends, in the place of another.
    pub(crate) fn keep(&mut self, number: u64, is_deflating: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.get(number, is_deflating).is_some() {
            return;
        }
        let place = &mut self.places[number as usize % PLACES];
        (place.number, place.is_deflating) = (Some(number), is_deflating);
        place.frame.clear();
        write(&mut place.frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_for_its_publication_and_extensions_alone() {
        let mut known = Known::new();
        assert_eq!(known.get(0, false), None, "nothing is known at first");
        known.keep(3, false, |frame| frame.extend_from_slice(b"three"));
        assert_eq!(known.get(3, false), Some(&b"three"[..]));
        assert_eq!((known.get(3, true), known.get(4, false)), (None, None));
        // The same place.
        assert_eq!(known.get(3 + PLACES as u64, false), None);
        known.keep(3 + PLACES as u64, false, |frame| frame.extend_from_slice(b"later"));
        assert_eq!((known.get(3, false), known.get(3 + PLACES as u64, false)), (None, Some(&b"later"[..])));
    }
}

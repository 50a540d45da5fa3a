//! Pieces of a file in, lines out.
//!
//! Without: files, what lines mean. Holds at most one unfinished line of `line_bytes_max` bytes and one piece.

/// Cuts pieces into lines.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// No line feed stands between `start` and here.
    searched: usize,
    line_bytes_max: usize,
    /// Inside a line that is too long: everything up to its line feed is dropped.
    overlong: bool,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'l> {
    /// Without its line feed.
    Line(&'l [u8]),
    /// A line of more than `line_bytes_max` bytes was here and is dropped.
    TooLong,
}

impl Lines {
    /// For lines of at most `line_bytes_max` bytes.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Lines {
        Lines { bytes: Vec::new(), start: 0, searched: 0, line_bytes_max, overlong: false }
    }

    /// The buffer to append the next piece to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        &mut self.bytes
    }

    /// The next whole line; `None` when more pieces are needed.
    pub fn next_line(&mut self) -> Option<Cut<'_>> {
        let Some(found) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            if self.overlong || self.bytes.len() - self.start > self.line_bytes_max {
                self.overlong = true;
                self.start = self.bytes.len();
            }
            return None;
        };
        let (start, end) = (self.start, self.searched + found);
        self.start = end + 1;
        self.searched = end + 1;
        Some(self.cut(start, end))
    }

    /// What stands behind the last line feed, at the end of the file.
    pub fn last_line(&mut self) -> Option<Cut<'_>> {
        let (start, end) = (self.start, self.bytes.len());
        self.start = end;
        self.searched = end;
        if start == end && !self.overlong { None } else { Some(self.cut(start, end)) }
    }

    fn cut(&mut self, start: usize, end: usize) -> Cut<'_> {
        let overlong = std::mem::take(&mut self.overlong);
        if overlong || end - start > self.line_bytes_max { Cut::TooLong } else { Cut::Line(&self.bytes[start..end]) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The twin splits the whole file at once.
        #[test]
        fn lines_are_the_same_however_the_file_is_cut(
            file in "[ab\n]{0,60}",
            pieces in prop::collection::vec(1usize..9, 1..20),
        ) {
            const LINE_BYTES_MAX: usize = 6;
            let mut twin: Vec<Option<String>> =
                file.split('\n').map(|line| (line.len() <= LINE_BYTES_MAX).then(|| line.to_owned())).collect();
            if twin.last() == Some(&Some(String::new())) {
                twin.pop();
            }

            let mut lines = Lines::new(LINE_BYTES_MAX);
            let mut seen = Vec::new();
            let own = |cut: Cut<'_>| match cut {
                Cut::Line(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Cut::TooLong => None,
            };
            let mut rest = file.as_bytes();
            for size in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                lines.buffer().extend_from_slice(piece);
                prop_assert!(lines.bytes.len() <= LINE_BYTES_MAX + piece.len());
                while let Some(cut) = lines.next_line() {
                    seen.push(own(cut));
                }
                rest = behind;
            }
            seen.extend(lines.last_line().map(own));
            prop_assert_eq!(seen, twin);
        }
    }
}
